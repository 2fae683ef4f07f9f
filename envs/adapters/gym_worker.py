"""reasoning-gym in a process of its own: the same problems in every run, scoring bounded in time and memory.

A process of its own because several of its tasks depend on Python's hash seed, which can only be fixed at start, and
because its scorers were not written for hostile answers (`R999999999` for a cube is a list of 8 GB).
"""

import atexit
import functools
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rewards.process import ChildProcess, Died, Late

PROGRAM = Path(__file__).with_name("gym_worker_main.py")
LONGEST_ANSWER = 10_000
GENERATION_SECONDS = 600.0


class GymWorker:
    """A worker that is started by the first request and again after each one for which it had to be killed."""

    def __init__(self, timeout_seconds: float = 10.0) -> None:
        self.timeout_seconds = timeout_seconds
        self._process: ChildProcess | None = None
        self._lock = threading.Lock()
        atexit.register(self.close)

    def generate(self, task: str, options: dict[str, Any]) -> dict[str, Any] | str:
        """`{"entries": [...]}` or `{"problem": one line}`; `timeout` or `died` as text."""
        return self._request({"do": "generate", "task": task, "options": options}, GENERATION_SECONDS)

    def score(self, entry: dict[str, Any], answer: str) -> tuple[float | None, str]:
        """The score in [0, 1] and the outcome: ok, failed (the scorer raised), long, timeout or died; 0 unless ok.

        `unavailable` with None: the worker can't be started, which is not the answer's fault.
        """
        if len(answer) > LONGEST_ANSWER:
            return 0.0, "long"
        reply = self._request({"do": "score", "entry": entry, "answer": answer}, self.timeout_seconds)
        if isinstance(reply, str):
            return (None if reply == "unavailable" else 0.0), reply
        score = reply["score"]
        return (0.0, "failed") if score is None else (min(1.0, max(0.0, score)), "ok")

    def close(self) -> None:
        """Kill the worker with all it may have started."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _request(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | str:
        with self._lock:
            if self._process is None:
                self._process = _start()
                if isinstance(_ask(self._process, {"do": "start"}, GENERATION_SECONDS), str):
                    self.close()
                    return "unavailable"
            reply = _ask(self._process, request, seconds)
            if isinstance(reply, str):
                self.close()
            return reply


@functools.cache
def shared_worker() -> GymWorker:
    """The one worker of this process."""
    return GymWorker()


def _start() -> ChildProcess:
    fixed = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return ChildProcess([sys.executable, str(PROGRAM)], environment={**os.environ, **fixed})


def _ask(process: ChildProcess, request: dict[str, Any], seconds: float) -> dict[str, Any] | str:
    """One line out, one line back; `timeout` or `died` if it does not come."""
    try:
        found: dict[str, Any] = json.loads(process.exchange(request, time.monotonic() + seconds))
    except Late:
        return "timeout"
    except (Died, OSError, ValueError):
        return "died"
    return found
