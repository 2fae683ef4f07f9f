"""Values of expressions: what is compared where structure does not decide."""
