"""Choose where programs of a model may run: `start` a process under the best isolation of this machine.

Every way of isolating is tried on a program that attempts to get out before it is used, since containers and
AppArmor take parts of it away in silence; one that does not hold is refused with the reason. Nothing falls back to
less than isolation unless the caller asks for "rlimits" by name. `describe` says what is in use.
"""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rewards.sandbox.isolations import AUTOMATIC, ENVIRONMENT, ISOLATIONS, MOST_THREADS, Isolation, Limits
from rewards.sandbox.process import Died, Late, SandboxProcess, StartError, TooMuchMemory, Unsolicited

START_ATTEMPTS = 3
NO_NAMESPACE = "this machine lets it have no mount namespace"
RETRY_SECONDS = 60.0  # after which a machine without isolation is tried again: it may have been out of memory
# What an escaping program would try; returns the names of what was held. Only ever run in a sandbox.
PROBE = """
import ctypes, os, socket, sys, threading

def attempt(action):
    try:
        action()
    except (OSError, RuntimeError):
        return True
    return False

def fork():
    if os.fork() == 0:
        os._exit(0)

def connect():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))

def write(folder):
    path = "%s/.grpo-sandbox-probe-%d" % (folder, os.getpid())
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.unlink(path)

def probe(home):
    reads = [lambda: open("/etc/passwd"), lambda: open("/proc/1/environ"), lambda: open("/proc/self/environ")]
    held = {
        "files": all(attempt(read) for read in reads),
        "network": attempt(connect),
        "processes": attempt(fork),
        "writes": all(attempt(lambda f=f: write(f)) for f in ("", "/var/tmp", "/dev/shm")),
        "environment": not set(os.environ) - set(home),
        "attributes": attempt(lambda: os.stat("/etc/passwd")),
    }
    return sorted(name for name, found in held.items() if found)
"""


class Unavailable(RuntimeError):
    """No isolation can be had; the message says why, and what can be done."""


@dataclass(frozen=True)
class Description:
    """The isolation of programs on this machine, found by running one."""

    isolation: str | None  # None: programs are refused
    layers: str
    start_seconds: float  # of one process, as measured by the probe
    reasons: tuple[str, ...]  # why better ones are not in use, a line each

    def __str__(self) -> str:
        notes = f" ({'; '.join(self.reasons)})" if self.reasons else ""
        if self.isolation is None:
            return f"code sandbox: none, programs are refused{notes}"
        return f"code sandbox: {self.isolation}: {self.layers}; {self.start_seconds * 1000:.0f} ms a process{notes}"


_found: dict[str, tuple[float, Description]] = {}  # when it was found out, and what
_lock = threading.Lock()


def describe(isolation: str = "auto") -> Description:
    """Return the isolation `start` will use, after a real run the first time. ValueError for an unknown name."""
    if isolation != "auto" and isolation not in ISOLATIONS:
        raise ValueError(f"isolation must be one of auto, {', '.join(ISOLATIONS)}, got {isolation!r}")
    with _lock:
        since, description = _found.get(isolation, (0.0, None))
        if description is None or (description.isolation is None and time.monotonic() - since > RETRY_SECONDS):
            names = [name for name in AUTOMATIC if ISOLATIONS[name].platform == sys.platform] or AUTOMATIC
            description = _search(names if isolation == "auto" else (isolation,))
            _found[isolation] = time.monotonic(), description
        return description


def choose(isolation: str = "auto") -> Isolation:
    """The isolation of that name, if it holds. Unavailable if it does not."""
    description = describe(isolation)
    if description.isolation is None:
        raise Unavailable(
            f"no isolation for model-written code: {'; '.join(description.reasons)}. Install bubblewrap (Linux), or "
            "accept the risk with the option isolation=rlimits, which lets programs read and write what you can"
        )
    return ISOLATIONS[description.isolation]


def start(module: str, limits: Limits, isolation: Isolation) -> SandboxProcess:
    """A confined process in which `serve` of that module of this package runs. StartError if it fails repeatedly."""
    for attempt in range(START_ATTEMPTS):
        process = SandboxProcess(
            isolation.command(module, limits),
            environment=ENVIRONMENT,
            watched_bytes=None if isolation.limits_memory else limits.memory_bytes,
            watched_threads=None if isolation.limits_threads else MOST_THREADS,
        )
        try:
            process.wait_ready()
        except StartError:
            if attempt + 1 == START_ATTEMPTS:
                raise
            continue
        except BaseException:
            process.close()
            raise
        break
    return process


def _search(names: Sequence[str]) -> Description:
    reasons: list[str] = []
    for name in names:
        isolation = ISOLATIONS[name]
        started = time.monotonic()
        held: frozenset[str] = frozenset()
        problem = isolation.missing()
        if problem is None:
            problem, held = _leak(isolation)
        if problem is None:
            if "files" in isolation.holds and "attributes" not in held:
                reasons.append(f"{name} lets programs see the names, sizes and times of files: {NO_NAMESPACE}")
            return Description(name, isolation.layers, time.monotonic() - started, tuple(reasons))
        reasons.append(f"{name} {problem}")
    return Description(None, "", 0.0, tuple(reasons))


def _leak(isolation: Isolation) -> tuple[str | None, frozenset[str]]:
    """Return what a probing program reached outside, or why it did not start; and what held it."""
    limits = Limits()
    deadline = time.monotonic() + limits.wall_seconds
    try:
        with start("code.program", limits, isolation) as process:
            loaded = process.ask({"code": PROBE, "setup": ""}, deadline)
            if "error" in loaded:
                return f"does not work: the probe says {loaded['error']}", frozenset()
            names = [*ENVIRONMENT, "LC_CTYPE", "PWD", "__CF_USER_TEXT_ENCODING"]
            reply = process.ask({"call": "probe", "args": [names], "kwargs": {"dict": []}}, deadline)
    except StartError as error:
        return f"does not work: {error}", frozenset()
    except (Died, Late, TooMuchMemory, Unsolicited) as error:
        return f"does not work: the probe ended with {error}", frozenset()
    if not isinstance(reply.get("value"), list):
        return f"does not work: the probe says {reply.get('error')}", frozenset()
    held = frozenset(reply["value"])
    open_doors = sorted(isolation.holds - held)
    return (f"does not hold: {', '.join(open_doors)}" if open_doors else None), held
