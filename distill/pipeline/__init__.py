"""`python -m distill.pipeline`: the stages of R1 in order, each resumable, with a table at the end."""

from typing import Any

__all__ = ["run_pipeline"]


def __getattr__(name: str) -> Any:
    """Import the run function when it is asked for: `--help` needs no model library."""
    if name != "run_pipeline":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from distill.pipeline.run import run_pipeline

    return run_pipeline
