"""Games and exercises of several turns that need no other package."""
