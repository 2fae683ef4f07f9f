"""Measurements: quality benchmarks, speed, memory. Imported by nobody."""
