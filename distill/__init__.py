"""Corpora, supervised fine-tuning and distilled students on top of grpo."""

import importlib
from collections.abc import Callable
from typing import Any


def hands_on(package: str, name: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a command's package that imports `name` from its `run` when it is asked for.

    So `--help` needs no model library.
    """

    def found(asked: str) -> Any:
        if asked != name:
            raise AttributeError(f"module {package!r} has no attribute {asked!r}")
        return getattr(importlib.import_module(f"{package}.run"), name)

    return found
