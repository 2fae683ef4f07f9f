"""Shared by the benchmarks of models: problems, decoding, scoring, intervals, tables."""
