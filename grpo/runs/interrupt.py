"""Stopping a run from outside without losing what it did."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType


class Interrupted(Exception):
    """A signal asked the run to stop; what was done is saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


class StopFlag:
    """Remembers the first SIGINT, SIGTERM or SIGHUP; a second one ends the process at once.

    SIGHUP says that the terminal is gone: what is printed from then on goes nowhere. Where it is ignored (`nohup`) it
    stays ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.terminals = [number for number in (1, 2) if _is_terminal(number)]
        self.decide: Callable[[int | None], int | None] = lambda received: received  # over ranks they decide together

    def __enter__(self) -> "StopFlag":
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python has no signals to give
            numbers = [signal.SIGINT, signal.SIGTERM]
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                numbers.append(signal.SIGHUP)
            self.before = {number: signal.signal(number, self._on_signal) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number
        if number == signal.SIGHUP:
            for terminal in self.terminals:
                _to_nowhere(terminal)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        number = self.decide(self.received)
        if number is not None:
            raise Interrupted(number)


class Unread(Interrupted):
    """Nobody reads what a command prints any more; from here on it goes nowhere."""

    def __init__(self) -> None:
        super().__init__(signal.SIGPIPE)
        with contextlib.suppress(OSError, ValueError):
            _to_nowhere(sys.stdout.fileno())


def unread() -> bool:
    """Return whether standard output is a pipe that nobody reads any more, such as one to `head`."""
    output = select.poll()
    with contextlib.suppress(OSError, ValueError):
        output.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0))
    return False


def _is_terminal(number: int) -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(number)
    return False


def _to_nowhere(number: int) -> None:
    """Let what is written to a file descriptor go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


class TrainingFailed(RuntimeError):
    """The run cannot go on; the message says why and what to try."""
