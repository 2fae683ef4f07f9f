"""What only a CPU gains from; each function here replaces a plain MLX one."""
