"""Environments written for other libraries, as environments here: one file a library."""
