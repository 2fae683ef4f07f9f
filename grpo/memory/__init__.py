"""How much memory a run needs, how much there is, and a plan that fits."""
