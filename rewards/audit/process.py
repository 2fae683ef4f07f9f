"""The audited reward's process, as the audit sees it: ask, and whatever happens there is an answer."""

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from rewards.process import ChildProcess, Died, Late

START_SECONDS = 120.0


@dataclass(frozen=True)
class Reply:
    """The reward's value, time and error for one case."""

    value: float | None
    seconds: float
    error: str | None
    outcome: str | None  # crash or timeout; None if it answered


class AuditProcess:
    """One reward in a process of its own session, started again after it hung or died.

    Raises ValueError where the reward can't be made at all.
    """

    def __init__(self, reward: str, options: dict[str, Any], timeout_seconds: float) -> None:
        self._order = {"reward": reward, "options": options, "path": [entry or os.getcwd() for entry in sys.path]}
        self._timeout = timeout_seconds
        self._process: ChildProcess | None = self._start()

    def ask(self, row: dict[str, Any]) -> Reply:
        """The reward's reply to one case."""
        process = self._process = self._process or self._start()
        start = time.monotonic()
        try:
            reply = json.loads(process.exchange(row, start + self._timeout))
        except (Late, Died) as error:
            seconds = time.monotonic() - start
            self.close()
            if isinstance(error, Died):
                return Reply(None, seconds, f"the process ended with code {error.status}", "crash")
            return Reply(None, seconds, f"no value after {self._timeout:g} s", "timeout")
        return Reply(reply["value"], reply["seconds"], reply["error"], "crash" if reply["error"] else None)

    def close(self) -> None:
        """End the process and everything in its session."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def __enter__(self) -> "AuditProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> ChildProcess:
        process = ChildProcess(
            [sys.executable, "-m", "rewards.audit.worker"],
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(self._order["path"])},
            stderr=None,
        )
        try:
            reply = json.loads(process.exchange(self._order, time.monotonic() + START_SECONDS))
        except (Late, Died):
            reply = {"error": "its process did not start"}
        if "error" in reply:
            process.close()
            raise ValueError(reply["error"])
        return process
