"""What a model does on tasks it is not trained on: during a run, and as the command `python -m grpo.evaluate`."""
