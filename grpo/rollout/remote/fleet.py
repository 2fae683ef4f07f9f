"""Hand jobs to several servers at once, and wait for those that are gone.

Every address has a few workers. A job that fails because its server is busy, gone or restarting goes back and is taken
by whoever is free; the results that have come stay. Nothing here knows what a job is.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Generic, TypeVar

from grpo.config.sections import ConfigError
from rewards.judge.endpoint import EndpointError

Job = TypeVar("Job")
Result = TypeVar("Result")

GLANCE_SECONDS = 0.2  # between looks at whether the run is to stop
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0  # before a server is asked again; doubled each time
APART_SECONDS = 0.01  # between the first requests to a server: Python's own queue five connections, and drop others
REMIND_SECONDS = 60.0  # between two lines about servers that are still gone


class Fleet(Generic[Job, Result]):
    """Addresses that answer the same requests.

    `work(address, job)` runs in a thread of its own and raises EndpointError where there is no answer; one that is not
    `passing` ends the run as a ConfigError. `attempts` is how often each server may fail a job
    before the run ends, None = a job is asked for until it is done. `lost` is called with the address of a server that
    did not answer; `say` prints a line.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        work: Callable[[str, Job], Result],
        *,
        concurrency: int,
        attempts: int | None = None,
        say: Callable[[str], None] = lambda _: None,
        lost: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.addresses, self.work, self.concurrency, self.attempts = addresses, work, concurrency, attempts
        self.say, self.lost = say, lost

    def results(self, jobs: Sequence[Job], tick: Callable[[], None]) -> Iterator[tuple[Job, Result]]:
        """Yield (job, result) as they come; `tick` is called meanwhile and may raise. Raises what a job can't pass."""
        with _Round(self, jobs) as current:
            for _ in jobs:
                yield current.next(tick)


class _Round(Generic[Job, Result]):
    """The jobs of one call. Its threads are daemons: a request that hangs holds up no exit."""

    def __init__(self, fleet: Fleet[Job, Result], jobs: Sequence[Job]) -> None:
        self.fleet = fleet
        self.todo: queue.SimpleQueue[tuple[Job, Counter[str]]] = queue.SimpleQueue()  # with its failures by address
        self.done: queue.SimpleQueue[tuple[Job, Result | BaseException]] = queue.SimpleQueue()
        self.news: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()  # address, what is wrong
        self.gone: dict[str, tuple[float, str]] = {}  # address -> since when, why
        self.reminded = 0.0
        for job in jobs:
            self.todo.put((job, Counter()))
        self.over = threading.Event()
        workers = min(fleet.concurrency, len(jobs))
        self.threads = [
            threading.Thread(target=self._serve, args=(address, number), name="server", daemon=True)
            for address in fleet.addresses
            for number in range(workers)
        ]

    def __enter__(self) -> "_Round[Job, Result]":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.over.set()

    def next(self, tick: Callable[[], None]) -> tuple[Job, Result]:
        """Wait for a job that is done."""
        while True:
            self._tell()
            try:
                job, result = self.done.get(timeout=GLANCE_SECONDS)
            except queue.Empty:
                tick()
                continue
            if isinstance(result, BaseException):
                raise result
            return job, result

    def _serve(self, address: str, number: int) -> None:
        """Do jobs at one address until the round is over."""
        pause = FIRST_PAUSE_SECONDS
        self.over.wait(APART_SECONDS * number)
        while not self.over.is_set():
            try:
                job, failures = self.todo.get(timeout=GLANCE_SECONDS)
            except queue.Empty:
                continue
            try:
                self.done.put((job, self.fleet.work(address, job)))
                self.news.put((address, None))
                pause = FIRST_PAUSE_SECONDS
            except EndpointError as error:
                failures[address] += 1
                if not error.passing or self._given_up(failures):
                    self.done.put((job, ConfigError(f"server {error}")))
                    continue
                self.fleet.lost(address)
                self.todo.put((job, failures))
                self.news.put((address, str(error)))
                self.over.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except BaseException as error:  # handed to the caller's thread
                self.done.put((job, error))

    def _given_up(self, failures: Counter[str]) -> bool:
        """Return whether every server has failed a job as often as it may."""
        limit = self.fleet.attempts
        return limit is not None and all(failures[address] >= limit for address in self.fleet.addresses)

    def _tell(self) -> None:
        """Say which servers went, came back, and are still gone; from the thread that asks for results."""
        now = time.monotonic()
        while True:
            try:
                address, problem = self.news.get_nowait()
            except queue.Empty:
                break
            if problem is None and address in self.gone:
                since, _ = self.gone.pop(address)
                self.fleet.say(f"  server {address} answers again after {now - since:.0f} s")
            elif problem is not None and address not in self.gone:
                self.gone[address] = (now, problem)
                self.reminded = now
                others = len(self.fleet.addresses) - len(self.gone)
                what = f"its requests go to the {others} others" if others else "waiting until it is back"
                self.fleet.say(f"  server {problem}; what has come is kept, {what}")
        if self.gone and now - self.reminded >= REMIND_SECONDS:
            self.reminded = now
            for address, (since, problem) in self.gone.items():
                self.fleet.say(f"  server {address} is gone for {now - since:.0f} s: {problem}")
