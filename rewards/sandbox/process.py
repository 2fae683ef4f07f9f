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

START_SECONDS = 30.0
LONGEST_REPLY = 64 << 20
WATCH_SECONDS = 0.25


class StartError(RuntimeError):
    """A sandbox that did not get as far as being ready: nobody's program is to blame."""


class Unsolicited(Exception):
    """Output that was not asked for, or that is no reply."""


class Late(Exception):
    """No reply in time."""


class TooMuchMemory(Exception):
    """More resident memory than allowed, where the system has no limit of its own (macOS)."""


class TooLarge(Exception):
    """A reply that would take too long to read."""


class Died(Exception):
    """The process ended. `signal` that ended it, or None; it may have been sent by the process itself."""

    def __init__(self, status: int) -> None:
        # bubblewrap exits with 128 + signal of what ran in it
        self.signal = -status if status < 0 else status - 128 if status > 128 else None
        super().__init__(f"signal {self.signal}" if self.signal else f"exit code {status}")


class SandboxProcess:
    """A process started with `command`, in a session of its own, with nothing of this process's environment.

    Args:
        command: what to run; it speaks the protocol of `rewards.sandbox.guard`.
        environment: all of its environment.
        watched_bytes: resident memory above which it is killed; None where the system limits memory.
    """

    def __init__(
        self, command: Sequence[str], *, environment: dict[str, str], watched_bytes: int | None = None
    ) -> None:
        self.started = time.monotonic()
        self._watched_bytes = watched_bytes
        self._asked = 0
        self._buffer = bytearray()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,  # of the start; inside, it becomes the null device
                start_new_session=True,
                env=environment,
                cwd="/",
                bufsize=0,
            )
        except OSError as error:
            raise StartError(f"{command[0]}: {error.strerror}") from None
        assert self._process.stdin is not None and self._process.stdout is not None
        self._out, self._in = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._out, False)

    @property
    def pid(self) -> int:
        """The process to kill."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until it is confined. StartError if that fails."""
        try:
            reply = json.loads(self._line(time.monotonic() + START_SECONDS))
        except (Died, Late, Unsolicited, ValueError) as error:
            said = self._complaint()
            self.close()
            raise StartError(f"the sandbox did not start: {said or error}") from None
        if reply != {"ready": True}:
            self.close()
            raise StartError(f"the sandbox did not start: {reply}"[:300])

    def ask(self, message: dict[str, Any], deadline: float, *, most_bytes: int = LONGEST_REPLY) -> dict[str, Any]:
        """The reply to a message, by `time.monotonic() < deadline`.

        Raises TooLarge for a reply of more than `most_bytes`, and Unsolicited, Late, Died or TooMuchMemory, after
        which the process is of no further use.
        """
        self._asked += 1
        self._refuse_stray()
        self._send(json.dumps({**message, "id": self._asked}).encode() + b"\n", deadline)
        line = self._line(deadline)
        if len(line) > most_bytes:
            raise TooLarge(f"a reply of {len(line)} bytes")
        try:
            reply = json.loads(line, parse_constant=_refuse, parse_int=_integer)
        except (ValueError, RecursionError):
            raise Unsolicited("a reply that is not JSON") from None
        if type(reply) is not dict or reply.pop("id", None) != self._asked:
            raise Unsolicited("a reply to another request")
        return reply

    def finish(self) -> None:
        """Raise Unsolicited if something was written after the last reply."""
        self._refuse_stray()

    def ask_for_output(self, message: dict[str, Any], deadline: float, most_bytes: int) -> tuple[bytes, int]:
        """All that the process writes from now until it ends, and its exit code (-n for signal n)."""
        self._send(json.dumps(message).encode() + b"\n", deadline)
        while True:
            chunk = self._chunk(deadline)
            if not chunk:
                break
            self._buffer += chunk
            if len(self._buffer) > most_bytes:
                raise Died(-signal.SIGXFSZ)
        return bytes(self._buffer), self._status(deadline)

    def close(self) -> None:
        """End the process and everything it started."""
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> "SandboxProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _complaint(self) -> str:
        """The last line that the process wrote to standard error before it ended."""
        assert self._process.stderr is not None
        if self._process.poll() is None or not _wait(self._process.stderr.fileno(), select.POLLIN, 0.1):
            return ""
        lines = os.read(self._process.stderr.fileno(), 4096).decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:200]

    def _refuse_stray(self) -> None:
        if self._buffer or (_wait(self._in, select.POLLIN, 0.0) and os.read(self._in, 1)):
            raise Unsolicited("output that nobody asked for")

    def _send(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._out, rest) :]
            except BlockingIOError:
                self._wait_until(self._out, select.POLLOUT, deadline)
            except OSError:
                return  # it ended: the missing reply says so

    def _line(self, deadline: float) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            chunk = self._chunk(deadline)
            if not chunk:
                raise Died(self._status(deadline))
            self._buffer += chunk
            if len(self._buffer) > LONGEST_REPLY:
                raise Unsolicited("a reply without end")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _status(self, deadline: float) -> int:
        """The exit code, once the pipe is closed. Late for a process that goes on without it."""
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Late("it closed its pipe and did not end") from None

    def _chunk(self, deadline: float) -> bytes:
        self._wait_until(self._in, select.POLLIN, deadline)
        return os.read(self._in, 1 << 18)

    def _wait_until(self, descriptor: int, event: int, deadline: float) -> None:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Late("no reply in time")
            slice_seconds = left if self._watched_bytes is None else min(left, WATCH_SECONDS)
            if _wait(descriptor, event, slice_seconds):
                return
            if self._watched_bytes is not None and resident_bytes(self.pid) > self._watched_bytes:
                raise TooMuchMemory(f"more memory than the {self._watched_bytes} bytes allowed")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, as `ps` knows it; 0 if it is gone. (macOS does not enforce RLIMIT_AS.)"""
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return int(done.stdout) * 1024 if done.stdout.strip().isdecimal() else 0


def _wait(descriptor: int, event: int, seconds: float) -> bool:
    """Whether a descriptor is ready, or at its end, in time. `poll`: `select` refuses descriptors over 1,023."""
    poller = select.poll()
    poller.register(descriptor, event)
    return bool(poller.poll(seconds * 1000))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > 20:  # longer ones are sent as hexadecimal; reading decimals takes quadratic time
        raise ValueError(f"an integer of {len(digits)} digits, too long for JSON")
    return int(digits)
