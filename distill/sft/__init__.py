"""`python -m distill.sft`: supervised fine-tuning for cold starts, the R1 recipe and students."""

from typing import Any

__all__ = ["run_sft"]


def __getattr__(name: str) -> Any:
    """Import the run function when it is asked for: `--help` needs no model library."""
    if name != "run_sft":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from distill.sft.run import run_sft

    return run_sft
