"""`python -m grpo.doctor`: check the machine, the data, the model and the rewards before a run."""
