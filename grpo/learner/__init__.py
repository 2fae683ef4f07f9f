"""Groups in, updates out."""
