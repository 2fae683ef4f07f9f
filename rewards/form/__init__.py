"""Rewards for the look of a completion: template, language, length and style."""
