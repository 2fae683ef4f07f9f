"""Rewards given by a language model that follows a rubric."""
