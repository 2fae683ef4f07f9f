"""Rows of an SFT corpus: reading, filtering and de-duplicating them."""
