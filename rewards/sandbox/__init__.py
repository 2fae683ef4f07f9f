"""Isolation for model-written code. This file imports nothing: parts of the package run inside the sandbox."""
