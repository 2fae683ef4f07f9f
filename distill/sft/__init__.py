"""`python -m distill.sft`: supervised fine-tuning for cold starts, the R1 recipe and students."""

from distill import hands_on

__all__ = ["run_sft"]

__getattr__ = hands_on(__name__, "run_sft")
