"""`python -m distill.export`: fuse an adapter, quantise, write GGUF and a model card, push."""

from typing import Any

from distill.export.config import ExportConfig

__all__ = ["ExportConfig", "run_export"]


def __getattr__(name: str) -> Any:
    """Import the run function when it is asked for: `--help` needs no model library."""
    if name != "run_export":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from distill.export.run import run_export

    return run_export
