"""A small pool of worker processes that compare answers with sympy, under a hard kill.

Processes, not a library's pool: concurrent.futures breaks when a worker is killed. Signals as timeouts work in the
main thread only and not against C code; a kill always does. Their memory is limited by the system (Linux) and, as
macOS does not enforce that, watched from here. Started by the first answer that needs them, replaced at once when
killed and after 2,000 items, one more than used kept warm. Called from any thread.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rewards.resident import resident_bytes

WALL_SECONDS = 6.0  # backstop; the worker's own CPU limit decides, else rewards would depend on the machine's load
RESIDENT_BYTES = 1 << 30  # of a worker; an idle one holds about 100 MB
WATCH_SECONDS = 0.05  # between two looks at it; ordinary answers are done before the first
START_SECONDS = 60.0
START_ATTEMPTS = 3
ITEMS_PER_WORKER = 2000
CACHE_ENTRIES = 50_000
_HERE = Path(__file__).resolve()


@dataclass(frozen=True)
class Item:
    """Two normalised answers to compare."""

    gold: str
    answer: str
    strict: bool


class StartError(RuntimeError):
    """A worker that ended before it was ready."""


class Worker:
    """One process. `ask` is for one thread at a time; anything unexpected leaves it dead."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(_HERE.parents[1] / "algebra" / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", ""), "SYMPY_GROUND_TYPES": "python"},
            bufsize=0,
        )
        self.asked = 0
        self._ready = False
        self._buffer = b""
        path = [entry for entry in sys.path if entry] + [str(_HERE.parents[2])]
        self._send({"path": path})

    def ask(self, item: Item) -> str:
        """The outcome of one item: ok, wrong, unparsed, gold_bad, memory, timeout or died."""
        if not self._ready:
            self._wait_ready()
        self.asked += 1
        self._send({"id": self.asked, "gold": item.gold, "answer": item.answer, "strict": item.strict})
        line = self._line(WALL_SECONDS, RESIDENT_BYTES)
        if line is not None:
            reply = json.loads(line)
            return str(reply["outcome"]) if reply.get("id") == self.asked else "died"
        if self.process.poll() is None:  # the wall clock ran out, or the memory
            outcome = "memory" if resident_bytes(self.process.pid) > RESIDENT_BYTES else "timeout"
            self.kill()
            return outcome
        return "timeout" if self.process.returncode == -signal.SIGPROF else "died"

    @property
    def ready(self) -> bool:
        """Whether it has loaded sympy and can be asked at once."""
        assert self.process.stdout is not None
        return self._ready or _readable(self.process.stdout.fileno(), 0)

    @property
    def spent(self) -> bool:
        """Whether it has to be replaced."""
        return self.asked >= ITEMS_PER_WORKER or self.process.poll() is not None

    def kill(self) -> None:
        """End the process and everything in its session."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _wait_ready(self) -> None:
        line = self._line(START_SECONDS)
        reply = json.loads(line) if line is not None else {"error": "no answer from the process"}
        if not reply.get("ready"):
            self.kill()
            raise StartError(f"the answer verifier did not start: {reply.get('error', 'sympy or math-verify fails')}")
        self._ready = True

    def _send(self, message: dict[str, object]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, OSError):
            return  # dead: the missing reply says so

    def _line(self, seconds: float, resident_limit: int | None = None) -> bytes | None:
        """One line of output; None if the process ended, the time is over or it holds too much memory."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if not _readable(self.process.stdout.fileno(), min(left, WATCH_SECONDS)):
                if resident_limit is not None and resident_bytes(self.process.pid) > resident_limit:
                    return None
                continue
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                self.process.wait()
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def _readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read in time. `poll`: `select` refuses descriptors over 1,023."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(poller.poll(seconds * 1000))


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
            return [worker.process.pid for worker in self._all]

    def close(self) -> None:
        """End the workers; the next question starts new ones."""
        with self._lock:
            workers, self._all, self._idle = list(self._all), set(), []
        for worker in workers:
            worker.kill()

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
                worker.kill()
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
        for worker in [worker for worker in self._idle if worker.process.poll() is not None]:
            self._idle.remove(worker)
            self._all.discard(worker)
            worker.kill()

    def _give_back(self, worker: Worker) -> None:
        if worker.spent:
            self._drop(worker)
            return
        with self._lock:
            keep = worker in self._all
            if keep:
                self._idle.append(worker)
        if not keep:  # closed meanwhile
            worker.kill()

    def _drop(self, worker: Worker) -> None:
        with self._lock:
            if worker in self._all:  # not closed meanwhile
                self._all.discard(worker)
                self._refill()
        worker.kill()

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
