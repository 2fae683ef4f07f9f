"""Let mx.compile fuse while a gradient is being taken, and tell whether one may be taken at all.

MLX runs a compiled function operation by operation when its arrays belong to a gradient. For the forward and backward
rules of a custom function, through which no gradient passes, that is all loss: they are several times slower. MLX keeps
note of gradients by thread, so inside `fused_gradients` such a rule is called from a thread of its own.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import mlx.core as mx

from grpo.cpu.switch import plain


class _Helper:
    """A thread that calls functions for the thread that made it, which waits meanwhile.

    It is never ended: what MLX keeps for a thread can't be let go of safely while the interpreter shuts down.
    """

    def __init__(self) -> None:
        self.asked: SimpleQueue = SimpleQueue()
        self.answered: SimpleQueue = SimpleQueue()
        threading.Thread(target=self._serve, name="fused", daemon=True).start()

    def call(self, function: Callable[..., Any], arrays: tuple[mx.array, ...]) -> Any:
        """Return function(*arrays), with its operations on the caller's stream."""
        self.asked.put((function, arrays, mx.default_stream(mx.default_device())))
        result, error = self.answered.get()
        if error is not None:
            raise error
        return result

    def _serve(self) -> None:
        while True:
            function, arrays, stream = self.asked.get()
            result, error = None, None
            try:
                with mx.stream(stream):
                    result = function(*arrays)
            except Exception as raised:  # handed to the caller, who raises it
                error = raised
            self.answered.put((result, error))
            del function, arrays, result, error  # or arrays would live on until the next call


class _Local(threading.local):
    fuses = False
    gradient = True

    @functools.cached_property
    def helper(self) -> _Helper:
        return _Helper()


_local = _Local()


def unseen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function that is never differentiated, so that `mx.compile` still applies inside it."""

    @functools.wraps(function)
    def call(*arrays: mx.array) -> Any:
        return _local.helper.call(function, arrays) if _local.fuses else function(*arrays)

    return call


@contextlib.contextmanager
def fused_gradients() -> Iterator[None]:
    """Inside, compiled functions called by what is `unseen` stay compiled where a gradient is taken."""
    before, _local.fuses = _local.fuses, not plain()
    try:
        yield
    finally:
        _local.fuses = before


@contextlib.contextmanager
def without_gradient() -> Iterator[None]:
    """Within this context, skip the operations that only a gradient needs; none may be taken."""
    before, _local.gradient = _local.gradient, False
    try:
        yield
    finally:
        _local.gradient = before


def has_gradient() -> bool:
    """Return whether a gradient may be taken here."""
    return _local.gradient


def here(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Bind a custom function's gradient rule to the stream that is current now, that of the function itself.

    MLX puts them on the stream on which the gradient is asked for.
    """
    stream = mx.default_stream(mx.default_device())

    @functools.wraps(rule)
    def call(*arguments: Any) -> Any:
        with mx.stream(stream):
            return rule(*arguments)

    return call
