"""GRPO on MLX: sample groups, reward them, and move the policy toward what did better than its group."""
