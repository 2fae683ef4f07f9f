"""`python -m distill.student`: a corpus or a live teacher into a LoRA student."""

from typing import Any

__all__ = ["run_student"]


def __getattr__(name: str) -> Any:
    """Import the run function when it is asked for: `--help` needs no model library."""
    if name != "run_student":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from distill.student.run import run_student

    return run_student
