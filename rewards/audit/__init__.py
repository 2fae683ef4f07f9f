"""`python -m rewards.audit`: put a reward to labelled cases and report what it gets wrong."""
