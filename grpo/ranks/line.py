"""A thread that runs collectives, so that the main thread can leave one that a lost peer never ends."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from queue import SimpleQueue
from typing import Any, TypeVar

import mlx.core as mx

LOOK_SECONDS = 0.1  # between two looks of the waiting thread
SETTLE_SECONDS = 5.0  # for the collectives that were under way to fail

Made = TypeVar("Made")


class Line:
    """Runs one collective after another in a thread of its own."""

    def __init__(self) -> None:
        self.stuck = False  # whether the last one was left before its end
        self._tasks: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        threading.Thread(target=self._work, name="ranks", daemon=True).start()

    def run(self, work: Callable[[], Made], look: Callable[[], None]) -> Made:
        """Return what `work` gives. `look` is called while it runs and may raise; then no other work can be run."""
        done: Future[Made] = Future()
        self.stuck = True
        self._tasks.put((work, done))
        while True:
            try:
                found = done.result(LOOK_SECONDS)
            except TimeoutError:
                look()
                continue
            self.stuck = False
            return found

    def _work(self) -> None:
        while True:
            work, done = self._tasks.get()
            try:
                done.set_result(work())
            except BaseException as error:  # of mlx: the waiting thread raises it
                done.set_exception(error)


def settle() -> None:
    """Wait for the collectives inside a model that were under way when a rank was lost, and drop their errors.

    MLX raises the error of an asynchronous operation at the next evaluation, which would be the checkpoint's. A peer
    that is silent, its connection open, lets them wait for ever: this returns after SETTLE_SECONDS.
    """
    stream = mx.default_stream(mx.default_device())

    def wait() -> None:
        while True:
            try:
                return mx.synchronize(stream)
            except RuntimeError:  # of one of them; others may have failed too
                continue

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(SETTLE_SECONDS)
