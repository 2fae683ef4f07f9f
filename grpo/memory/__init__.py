"""Estimate the memory a run needs, measure what there is, and plan a run that fits."""
