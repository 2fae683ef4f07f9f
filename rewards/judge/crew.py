"""Threads that judge cases, as many requests at a time as the judge can bear."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Case = TypeVar("Case")
Outcome = TypeVar("Outcome")
START = 4  # requests at a time, at first
GAIN = 0.3  # what one more request at a time must bring, of what it would if it slowed down no other
SAY_EVERY_SECONDS = 10.0


class Load:
    """How many requests may be under way at once.

    It begins with a few. After a round of replies (as many as may be under way) there is one more at a time as long as
    that gave more replies a second; a request that failed in a way that may pass, such as a busy answer or a timeout,
    halves it. `most` is never exceeded.
    """

    def __init__(self, most: int) -> None:
        self.limit, self.most = min(START, most), most
        self._under_way = self._replies = 0
        self._seconds = self._best = 0.0
        self._free = threading.Condition()

    @contextlib.contextmanager
    def place(self, end: float) -> Iterator[bool]:
        """Hold the place of a request; gives whether there was one before `end`, a time.monotonic()."""
        with self._free:
            got = self._free.wait_for(lambda: self._under_way < self.limit, max(0.0, end - time.monotonic()))
            self._under_way += got
        try:
            yield got
        finally:
            with self._free:
                self._under_way -= got
                self._free.notify_all()

    def replied(self, seconds: float) -> None:
        """Hear of a reply and how long it took."""
        with self._free:
            self._replies += 1
            self._seconds += seconds
            if self._replies < self.limit:
                return
            rate = self.limit * self._replies / max(self._seconds, 1e-9)  # replies a second
            self._replies, self._seconds = 0, 0.0
            if rate > self._best * (1 + GAIN / self.limit) and self.limit < self.most:
                self._best = rate
                self.limit += 1
                self._free.notify_all()

    def failed(self) -> None:
        """Hear of a request that was too much for the judge, or took too long."""
        with self._free:
            self.limit = max(1, self.limit // 2)
            self._replies, self._seconds, self._best = 0, 0.0, 0.0


def in_threads(
    function: Callable[[Case], Outcome],
    cases: Sequence[Case],
    load: Load,
    end: float,
    hang_up: Callable[[], None],
) -> list[Outcome | None]:
    """Return the outcome of each case, None where the time was over; then what is under way is hung up.

    How far it is is said on stderr every ten seconds. Daemon threads: a hanging function holds up no exit.
    """
    results: list[Outcome | None] = [None] * len(cases)
    todo = iter(range(len(cases)))
    lock = threading.Lock()

    def work() -> None:
        while time.monotonic() < end:
            with lock:
                place = next(todo, None)
            if place is None:
                return
            results[place] = function(cases[place])

    count = min(load.most, len(cases))
    threads = [threading.Thread(target=work, name="judge", daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    said = time.monotonic()
    for thread in threads:
        while thread.is_alive() and (left := end - time.monotonic()) > 0:
            thread.join(min(left, 1.0))
            if time.monotonic() - said >= SAY_EVERY_SECONDS:
                said = time.monotonic()
                done = sum(result is not None for result in results)
                print(f"judge: {done} of {len(cases)}, {load.limit} at a time", file=sys.stderr, flush=True)
    if any(thread.is_alive() for thread in threads):
        hang_up()
    return list(results)
