"""What the benchmarks of models share: problems, decoding, scoring, intervals, tables."""
