"""The audited reward's process, as the audit sees it: ask, and whatever happens there is an answer."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

START_SECONDS = 120.0


@dataclass(frozen=True)
class Reply:
    """What the reward made of one case."""

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
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._start()

    def ask(self, row: dict[str, Any]) -> Reply:
        """The reward's reply to one case."""
        if self._process is None:
            self._start()
        start = time.monotonic()
        line = self._exchange(row, self._timeout)
        seconds = time.monotonic() - start
        if line is None:
            assert self._process is not None
            code = self._process.poll()
            hung = code is None
            self.close()
            if hung:
                return Reply(None, seconds, f"no value after {self._timeout:g} s", "timeout")
            return Reply(None, seconds, f"the process ended with code {code}", "crash")
        reply = json.loads(line)
        return Reply(reply["value"], reply["seconds"], reply["error"], "crash" if reply["error"] else None)

    def close(self) -> None:
        """End the process and everything in its session."""
        process, self._process, self._buffer = self._process, None, b""
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> "AuditProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rewards.audit.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(self._order["path"])},
            bufsize=0,
        )
        line = self._exchange(self._order, START_SECONDS)
        reply = json.loads(line) if line is not None else {"error": "its process did not start"}
        if "error" in reply:
            self.close()
            raise ValueError(reply["error"])

    def _exchange(self, message: dict[str, Any], seconds: float) -> bytes | None:
        """One line in, one line out; None if the process ended or the time is over."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
        except OSError:
            return None
        end = time.monotonic() + seconds
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN | select.POLLHUP)
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not poller.poll(left * 1000):
                return None
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                self._process.wait()
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
