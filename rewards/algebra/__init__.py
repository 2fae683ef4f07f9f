"""Symbolic comparison of answers; only the verifier's worker process imports sympy."""
