"""`python -m distill.rejection`: sample, judge and filter completions into an SFT corpus."""

from distill import hands_on

__all__ = ["run_rejection"]

__getattr__ = hands_on(__name__, "run_rejection")
