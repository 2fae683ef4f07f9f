"""How completions hang on a shared prompt: layout, caches, attention, and the one patch of mlx_lm."""
