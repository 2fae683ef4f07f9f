"""Every loss and advantage by name, what they are called with, and the ones that come from a user's module."""
