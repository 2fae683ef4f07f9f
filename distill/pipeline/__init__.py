"""`python -m distill.pipeline`: the stages of R1 in order, each resumable, with a table at the end."""

from distill import hands_on

__all__ = ["run_pipeline"]

__getattr__ = hands_on(__name__, "run_pipeline")
