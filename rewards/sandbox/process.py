"""The parent's end of a sandboxed process: one JSON line out, one JSON line back, everything else is an error.

What comes back was written by a hostile program: its size and the time it takes are bounded, a byte that nobody asked
for raises Unsolicited, and nothing but JSON is read. For one thread at a time.
"""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from rewards.process import ChildProcess, Died, Late, TooMuchMemory, Unsolicited, threads_of, tree_cpu_seconds, wait_for

__all__ = ["Died", "Late", "SandboxProcess", "StartError", "TooLarge", "TooMuchMemory", "Unsolicited"]

START_SECONDS = 30.0
LONGEST_REPLY = 64 << 20
LEAST_SHARE = 0.08  # of the time that passes is CPU time, of a program that computes on the most crowded machine


class StartError(RuntimeError):
    """A sandbox that did not get as far as being ready: nobody's program is to blame."""


class TooLarge(Exception):
    """A reply that would take too long to read."""


class SandboxProcess(ChildProcess):
    """A process started with `command`, with nothing of this process's environment.

    Args:
        command: what to run; it speaks the protocol of `rewards.sandbox.guard`.
        environment: all of its environment.
        watched_bytes: resident memory above which it is killed; None where the system limits memory (not macOS).
        watched_threads: number of threads above which it is killed; None where the system limits them.

    """

    watch_seconds = 0.25

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: dict[str, str],
        watched_bytes: int | None = None,
        watched_threads: int | None = None,
    ) -> None:
        self._watched_threads = watched_threads
        self._asked = 0
        self._since, self._until = time.monotonic(), 0.0
        try:
            super().__init__(
                command,
                environment=environment,
                directory="/",
                stderr=subprocess.PIPE,  # of the start; inside, it becomes the null device
                watched_bytes=watched_bytes,
                longest_line=LONGEST_REPLY,
            )
        except OSError as error:
            raise StartError(f"{command[0]}: {error.strerror}") from None

    def be_patient(self, until: float) -> None:
        """From now on wait beyond a deadline, up to `until`, for a program that computes and does not get the cores.

        One that sleeps is late at the deadline.
        """
        self._since, self._until = time.monotonic(), until

    @property
    def watched(self) -> bool:
        """Return whether memory or threads are watched from here."""
        return super().watched or self._watched_threads is not None

    def look(self) -> None:
        """Raise TooMuchMemory if the process has more memory or threads than it may."""
        super().look()
        if self._watched_threads is not None and threads_of(self.pid) > self._watched_threads:
            raise TooMuchMemory(f"more than the {self._watched_threads} threads allowed")

    def extended(self, deadline: float) -> float:
        """The time of `be_patient`, once, if the program used its part of the crowded machine. Raises Late."""
        used = tree_cpu_seconds(self.pid)
        elapsed = time.monotonic() - self._since
        if deadline >= self._until or (used is not None and used < elapsed * LEAST_SHARE):
            return super().extended(deadline)
        return self._until

    def wait_ready(self) -> None:
        """Wait until it is confined. StartError if that fails."""
        try:
            reply = json.loads(self.line(time.monotonic() + START_SECONDS))
        except (Died, Late, Unsolicited, ValueError) as error:
            said = self._complaint()
            self.close()
            raise StartError(f"the sandbox did not start: {said or error}") from None
        if reply != {"ready": True}:
            self.close()
            raise StartError(f"the sandbox did not start: {reply}"[:300])

    def ask(self, message: dict[str, Any], deadline: float, most_bytes: int = LONGEST_REPLY) -> dict[str, Any]:
        """The reply to a message, by `time.monotonic() < deadline`.

        Raises TooLarge for a reply of more than `most_bytes`, which is thrown away, and Unsolicited, Late, Died or
        TooMuchMemory, after which the process is of no further use.
        """
        self._asked += 1
        self.finish()
        line = self.exchange({**message, "id": self._asked}, deadline, most_bytes)
        if len(line) > most_bytes:
            raise TooLarge(f"a reply of more than {most_bytes} bytes")
        try:
            reply = json.loads(line, parse_constant=_refuse, parse_int=_integer)
        except (ValueError, RecursionError):
            raise Unsolicited("a reply that is not JSON") from None
        if type(reply) is not dict or reply.pop("id", None) != self._asked:
            raise Unsolicited("a reply to another request")
        return reply

    def finish(self) -> None:
        """Raise Unsolicited if something was written after the last reply."""
        if self._buffer or (self.readable and os.read(self._out.fileno(), 1)):
            raise Unsolicited("output that nobody asked for")

    def ask_for_output(self, message: dict[str, Any], deadline: float, most_bytes: int) -> tuple[bytes, int]:
        """All that the process writes from now until it ends, and its exit code (-n for signal n)."""
        self.send(message, deadline)
        while chunk := self.chunk(deadline):
            self._buffer += chunk
            if len(self._buffer) > most_bytes:
                raise Died(-signal.SIGXFSZ)
        return bytes(self._buffer), self.wait(deadline)

    def _complaint(self) -> str:
        """The last line that the process wrote to standard error before it ended."""
        stderr = self._process.stderr
        if stderr is None or self.running or not wait_for(stderr, select.POLLIN, 0.1):
            return ""
        lines = os.read(stderr.fileno(), 4096).decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:200]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > 20:  # longer ones are sent as hexadecimal; reading decimals takes quadratic time
        raise ValueError(f"an integer of {len(digits)} digits, too long for JSON")
    return int(digits)
