"""Shared by the benchmarks of speed: the machine, counts of operations, measured processes."""
