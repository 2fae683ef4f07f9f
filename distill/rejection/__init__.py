"""`python -m distill.rejection`: sample, judge and filter completions into an SFT corpus."""

from typing import Any

__all__ = ["run_rejection"]


def __getattr__(name: str) -> Any:
    """Import the run function when it is asked for: `--help` needs no model library."""
    if name != "run_rejection":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from distill.rejection.run import run_rejection

    return run_rejection
