"""Evaluate a model on held-out tasks, during a run and as the command `python -m grpo.evaluate`."""
