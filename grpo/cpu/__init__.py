"""Functions that speed up a CPU, each in place of a plain MLX one."""
