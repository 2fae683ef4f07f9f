"""Attach completions to a shared prompt: layout, caches, attention, and the one patch of mlx_lm."""
