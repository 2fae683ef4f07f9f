"""The off switch of grpo/cpu: GRPO_PLAIN=1 leaves everything to MLX's own functions.

A loaded BLAS stays under 1; `GRPO_PLAIN=all` leaves that out too. `plain` needs no mlx: it is asked before a BLAS is
loaded.
"""

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterator

VARIABLE = "GRPO_PLAIN"
SAID = f"plain path: {VARIABLE} is set, nothing of grpo/cpu is used"


class _Here(threading.local):
    off = False


_here = _Here()


def serves() -> bool:
    """Return whether grpo/cpu takes the place of MLX's own functions: on the CPU, unless it is switched off."""
    import mlx.core as mx

    return not plain() and mx.default_device().type == mx.DeviceType.cpu


def plain() -> bool:
    """Return whether every replacement in grpo/cpu is off."""
    return _here.off or _setting() in ("1", "all")


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Inside, on this thread, leave everything to MLX's own functions, so that the results are the same both ways."""
    before, _here.off = _here.off, True
    try:
        yield
    finally:
        _here.off = before


def without_blas() -> bool:
    """Return whether no BLAS is to be loaded either."""
    return _setting() == "all"


@functools.cache  # exp and attention ask for every array
def _setting() -> str:
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "0", "1", "all"):
        print(f"error: {VARIABLE} must be 0, 1 or all, got {value!r}", file=sys.stderr)
        raise SystemExit(2)
    return value
