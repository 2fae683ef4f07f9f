"""A small pool of worker processes that compare answers with sympy, under a hard kill.

Processes, not a library's pool: concurrent.futures breaks when a worker is killed. Signals as timeouts work in the
main thread only and not against C code; a kill always does. Their memory is limited by the system (Linux) and, as
macOS does not enforce that, watched from here. Started by the first answer that needs them, replaced at once when
killed and after 2,000 items, one more than used kept warm. Called from any thread.
"""

import atexit
import json
import os
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rewards.process import ChildProcess, Died, Late, TooMuchMemory

WALL_SECONDS = 6.0  # backstop; the worker's own CPU limit decides, else rewards would depend on the machine's load
RESIDENT_BYTES = 1 << 30  # of a worker; an idle one holds about 100 MB
START_SECONDS = 60.0
START_ATTEMPTS = 3
ITEMS_PER_WORKER = 2000
CACHE_ENTRIES = 50_000
_HERE = Path(__file__).resolve()


@dataclass(frozen=True)
class Item:
    """Two answers to compare, and the question's words in them."""

    gold: str
    answer: str
    strict: bool
    words: frozenset[str] = frozenset()


class StartError(RuntimeError):
    """A worker that ended before it was ready."""


class Worker(ChildProcess):
    """One process. `ask` is for one thread at a time; anything unexpected leaves it dead."""

    def __init__(self) -> None:
        super().__init__(
            [sys.executable, "-I", str(_HERE.parents[1] / "algebra" / "worker.py")],
            environment={"PATH": os.environ.get("PATH", ""), "SYMPY_GROUND_TYPES": "python"},
        )
        self.asked = 0
        self._ready = False
        path = [entry for entry in sys.path if entry] + [str(_HERE.parents[2])]
        self.send({"path": path}, time.monotonic() + START_SECONDS)

    def ask(self, item: Item) -> str:
        """The outcome of one item: ok, wrong, unparsed, gold_bad, memory, timeout or died."""
        if not self._ready:
            self._wait_ready()
        self.asked += 1
        self.watched_bytes = RESIDENT_BYTES
        message = {"id": self.asked, "gold": item.gold, "answer": item.answer, "strict": item.strict,
                   "words": sorted(item.words)}  # fmt: skip
        try:
            reply = json.loads(self.exchange(message, time.monotonic() + WALL_SECONDS))
        except Died as death:
            return "timeout" if death.status == -signal.SIGPROF else "died"
        except (Late, TooMuchMemory) as error:
            self.close()
            return "timeout" if isinstance(error, Late) else "memory"
        return str(reply["outcome"]) if reply.get("id") == self.asked else "died"

    @property
    def ready(self) -> bool:
        """Return whether it has loaded sympy and can be asked at once."""
        return self._ready or self.readable

    @property
    def spent(self) -> bool:
        """Return whether it has to be replaced."""
        return self.asked >= ITEMS_PER_WORKER or not self.running

    def _wait_ready(self) -> None:
        try:
            reply = json.loads(self.line(time.monotonic() + START_SECONDS))
        except (Late, Died):
            reply = {"error": "no answer from the process"}
        if not reply.get("ready"):
            self.close()
            raise StartError(f"the answer verifier did not start: {reply.get('error', 'sympy fails')}")
        self._ready = True


class Verifier:
    """Workers, a cache of outcomes, and the thread-safe way to both."""

    def __init__(self, size: int = 2) -> None:
        self.size = size
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._lock = threading.Lock()
        self._cache: OrderedDict[Item, str] = OrderedDict()

    def outcomes(self, items: Iterable[Item], *, deadline_seconds: float = 45.0) -> dict[Item, str]:
        """The outcome of each item; "deadline" for what is not judged in time."""
        wanted = list(dict.fromkeys(items))
        known = {item: found for item in wanted if (found := self._cached(item)) is not None}
        rest = [item for item in wanted if item not in known]
        end = time.monotonic() + deadline_seconds
        lanes = min(self.size, 1 + len(rest) // 8)
        if lanes == 1 or not rest:
            return known | {item: self._outcome(item, end) for item in rest}
        with ThreadPoolExecutor(lanes, thread_name_prefix="verifier") as executor:
            return known | dict(zip(rest, executor.map(lambda item: self._outcome(item, end), rest), strict=True))

    def pids(self) -> list[int]:
        """The processes there are now."""
        with self._lock:
            return [worker.pid for worker in self._all]

    def close(self) -> None:
        """End the workers; the next question starts new ones."""
        with self._lock:
            workers, self._all, self._idle = list(self._all), set(), []
        for worker in workers:
            worker.close()

    def forget(self) -> None:
        """After a fork: the workers are the parent's."""
        self._idle, self._all, self._lock = [], set(), threading.Lock()

    def _outcome(self, item: Item, end: float) -> str:
        if time.monotonic() >= end:
            return "deadline"
        for attempt in range(START_ATTEMPTS):
            worker = self._take()
            try:
                outcome = worker.ask(item)
            except (ValueError, KeyError):  # a line that is no reply
                worker.close()
                outcome = "died"
            except BaseException as error:
                self._drop(worker)
                if isinstance(error, StartError) and attempt + 1 < START_ATTEMPTS:
                    continue
                raise
            break
        self._give_back(worker)
        self._remember(item, outcome)
        return outcome

    def _take(self) -> Worker:
        with self._lock:
            self._forget_dead()
            worker = next((worker for worker in reversed(self._idle) if worker.ready), None)
            if worker is not None:
                self._idle.remove(worker)
            elif self._idle:
                worker = self._idle.pop()
            else:
                worker = Worker()
                self._all.add(worker)
            self._refill()
            return worker

    def _refill(self) -> None:
        """One worker more than are used at once, warming up meanwhile; the lock is held."""
        while len(self._all) <= self.size:
            spare = Worker()
            self._all.add(spare)
            self._idle.insert(0, spare)

    def _forget_dead(self) -> None:
        """Idle workers that somebody killed; the lock is held."""
        for worker in [worker for worker in self._idle if not worker.running]:
            self._idle.remove(worker)
            self._all.discard(worker)
            worker.close()

    def _give_back(self, worker: Worker) -> None:
        if worker.spent:
            self._drop(worker)
            return
        with self._lock:
            keep = worker in self._all
            if keep:
                self._idle.append(worker)
        if not keep:  # closed meanwhile
            worker.close()

    def _drop(self, worker: Worker) -> None:
        with self._lock:
            if worker in self._all:  # not closed meanwhile
                self._all.discard(worker)
                self._refill()
        worker.close()

    def _cached(self, item: Item) -> str | None:
        with self._lock:
            if item in self._cache:
                self._cache.move_to_end(item)
            return self._cache.get(item)

    def _remember(self, item: Item, outcome: str) -> None:
        if outcome in ("died", "memory"):  # may be another's fault
            return
        with self._lock:
            self._cache[item] = outcome
            while len(self._cache) > CACHE_ENTRIES:
                self._cache.popitem(last=False)


_shared = Verifier()
atexit.register(_shared.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.forget)


def shared() -> Verifier:
    """The pool of this process."""
    return _shared
