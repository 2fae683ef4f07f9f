"""What the benchmarks of speed share: the machine, counts of operations, measured processes."""
