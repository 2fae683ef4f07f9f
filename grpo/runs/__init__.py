"""Start, interrupt and resume a run, and write what it leaves on disk."""
