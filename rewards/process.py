"""A child process that is sent a JSON line and replies with one, for programs that may hang, die, flood or grow.

Every wait has a deadline: for a child that does not read, does not reply, or closes its output and goes on. A process
and not a thread, since only a kill ends whatever a child does. Nothing here runs inside the child.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

CLOSE_SECONDS = 10.0  # a killed process is gone in milliseconds, unless the system is stuck
CHUNK_BYTES = 1 << 18
FIRST_TO_END = "1000"  # where memory runs out the kernel ends a child, not the trainer
PAGE_BYTES, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
Child = TypeVar("Child", bound="ChildProcess")


class Late(Exception):
    """No reply in time."""


class Unsolicited(Exception):
    """Output that was not asked for, or that is no reply."""


class TooMuchMemory(Exception):
    """More resident memory, or more threads, than allowed."""


class Died(Exception):
    """The process ended with `status`, -n for signal n.

    `signal` is the one that ended it, or None; the process may have sent it itself.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        # bubblewrap exits with 128 + signal of what ran in it
        self.signal = -status if status < 0 else status - 128 if status > 128 else None
        super().__init__(f"signal {self.signal}" if self.signal else f"exit code {status}")


class ChildProcess:
    """A process in a session of its own. For one thread at a time; after an exception it is only good for `close`.

    Args:
        command: what to run.
        environment: all of its environment.
        directory: where it runs; None for this process's directory.
        stderr: as of `subprocess.Popen`.
        watched_bytes: resident memory above which a wait raises TooMuchMemory; None for no limit. May be changed.
        longest_line: bytes of output above which it is Unsolicited; None for no limit.

    """

    watch_seconds = 0.05  # between two looks at the memory; most replies are there before the first

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str | None = None,
        stderr: int | None = subprocess.DEVNULL,
        watched_bytes: int | None = None,
        longest_line: int | None = None,
    ) -> None:
        self.watched_bytes, self._longest_line = watched_bytes, longest_line
        self._buffer = bytearray()
        self._next_look = 0.0
        self._closed = False
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=stderr,
            start_new_session=True,
            env=environment,
            cwd=directory,
            bufsize=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout
        os.set_blocking(self._in.fileno(), False)
        with contextlib.suppress(OSError):  # no such file outside Linux
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(FIRST_TO_END)

    @property
    def pid(self) -> int:
        """The process, and the group that `close` kills."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.poll() is None

    @property
    def readable(self) -> bool:
        """Return whether there is output to read, or its end."""
        return bool(self._buffer) or wait_for(self._out, select.POLLIN, 0.0)

    def exchange(self, message: Mapping[str, Any], deadline: float, most_bytes: int | None = None) -> bytes:
        """The line that comes back for a message, by `time.monotonic() < deadline`; cut as `line` does.

        Raises Late, Died, TooMuchMemory or Unsolicited.
        """
        self.send(message, deadline)
        return self.line(deadline, most_bytes)

    def send(self, message: Mapping[str, Any], deadline: float) -> None:
        """Write one line. A process that has ended is no error here: its missing reply tells."""
        self.send_bytes(json.dumps(message).encode() + b"\n", deadline)

    def send_bytes(self, message: bytes, deadline: float) -> None:
        """Write bytes, for a child that knows where they end; otherwise as `send`."""
        self._next_look = time.monotonic() + self.watch_seconds
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[os.write(self._in.fileno(), rest) :]
            except BlockingIOError:
                self._wait(lambda seconds: wait_for(self._in, select.POLLOUT, seconds), deadline)
            except OSError:
                return

    def line(self, deadline: float, most_bytes: int | None = None) -> bytes:
        """The next line of output, without its end; of one of more than `most_bytes` the first `most_bytes` + 1."""
        searched, dropped = 0, 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            if most_bytes is not None and len(self._buffer) > most_bytes:
                dropped += len(self._buffer) - most_bytes - 1
                del self._buffer[most_bytes + 1 :]
            searched = len(self._buffer)
            chunk = self.chunk(deadline)
            if not chunk:
                raise Died(self.wait(deadline))
            self._buffer += chunk
            if self._longest_line is not None and dropped + len(self._buffer) > self._longest_line:
                raise Unsolicited("a reply without end")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def rest(self, deadline: float) -> bytes:
        """All output up to its end."""
        while chunk := self.chunk(deadline):
            self._buffer += chunk
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def chunk(self, deadline: float) -> bytes:
        """Output as it comes; empty at its end."""
        self._wait(lambda seconds: wait_for(self._out, select.POLLIN, seconds), deadline)
        return os.read(self._out.fileno(), CHUNK_BYTES)

    def wait(self, deadline: float) -> int:
        """The status that the process ends with. Late if it goes on: the end of its output is not its own."""
        self._wait(self._ends, deadline)
        return int(self._process.returncode)

    def kill(self) -> None:
        """Kill the session, from any thread: one that waits for a reply gets Died. `close` is still to be called."""
        if self._closed:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()

    def close(self) -> None:
        """Kill the process and everything in its session, also when the process itself has ended."""
        if self._closed:  # the number may be another's by now
            return
        self.kill()
        self._closed = True
        self._ends(CLOSE_SECONDS)
        for pipe in (self._in, self._out, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self: Child) -> Child:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def watched(self) -> bool:
        """Return whether `look` has anything to look at."""
        return self.watched_bytes is not None

    def look(self) -> None:
        """Raise TooMuchMemory if the process has more than it may."""
        if self.watched_bytes is not None and resident_bytes(self.pid) > self.watched_bytes:
            raise TooMuchMemory(f"more memory than the {self.watched_bytes} bytes allowed")

    def extended(self, deadline: float) -> float:
        """A later deadline, for a child that deserves more time than it was given. Raises Late: none does."""
        raise Late("no reply in time")

    def _ends(self, seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def _wait(self, happens: Callable[[float], bool], deadline: float) -> None:
        """Wait for what `happens` in the seconds it is given, with an eye on what is watched."""
        while True:
            now = time.monotonic()
            if now >= deadline:
                deadline = self.extended(deadline)
            watched = self.watched
            happened = happens(min(deadline - now, self.watch_seconds) if watched else deadline - now)
            # by the clock: output that trickles must not keep the watch from looking
            if watched and time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + self.watch_seconds
                self.look()
            if happened:
                return


def wait_for(pipe: IO[bytes], event: int, seconds: float) -> bool:
    """Return whether a pipe is ready, or at its end, in time. `poll`: `select` refuses descriptors over 1,023."""
    poller = select.poll()
    poller.register(pipe.fileno(), event)
    return bool(poller.poll(seconds * 1000))


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, from /proc or else from `ps`; 0 if it is gone (macOS ignores RLIMIT_AS)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0 if Path("/proc/self/statm").exists() else _by_ps(pid)


def threads_of(pid: int) -> int:
    """Threads of a process, or of one that it forked if that has more, from /proc; 0 without it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return max(int(status[17]), *(threads_of(int(child)) for child in children), 0)


def tree_cpu_seconds(pid: int) -> float | None:
    """CPU time of a process and of those under it that still run, from /proc; None without it (macOS)."""
    used: dict[int, float] = {}
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
        used[int(path.parent.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(used.get(one, 0.0) for one in below) if parents else None


def _by_ps(pid: int) -> int:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return int(done.stdout) * 1024 if done.stdout.strip().isdecimal() else 0
