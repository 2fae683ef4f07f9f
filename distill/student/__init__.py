"""`python -m distill.student`: a corpus or a live teacher into a LoRA student."""

from distill import hands_on

__all__ = ["run_student"]

__getattr__ = hands_on(__name__, "run_student")
