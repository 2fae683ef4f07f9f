"""The first program inside the sandbox: it gives up every right, says it is ready, and hands over to the real one.

Started by `rewards.sandbox.choice` with `python -c BOOT DIRECTORY MODULE CONFINEMENT`. `enter` is done once, before
anything is read; `seal`, which also forbids new processes, right before code that can't be trusted runs.
"""

import contextlib
import importlib
import json
import os
import resource
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rewards.sandbox import landlock, view

PROTOCOL_DESCRIPTOR = 40  # out of the way of programs that reuse low numbers
MAX_FILES = 64
STACK_BYTES = 64 << 20  # for recursion; only what is used counts
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, SIGKILL = 1, 24, 9
CAPABILITY_VERSION_3 = 0x20080522


class Confinement(NamedTuple):
    """The confinement of the process, as JSON on the command line."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    processes: int | None  # limit for the user id, threads included; None: not to be set
    user_id: int | None  # to become, when started as root
    readable: tuple[str, ...] | None  # for Landlock and a mount namespace; None: neither
    temporary_bytes: int  # of /tmp, where the mount namespace is this process's own
    seccomp: bool  # required; otherwise used where it can be
    forks: bool  # whether this process may start children before they seal themselves
    packages: Mapping[str, str] = MappingProxyType({})  # importable besides the standard library: name -> directory


class Channel:
    """JSON lines from and to the parent. Standard input and output become the null device."""

    def __init__(self) -> None:
        requests, replies = PROTOCOL_DESCRIPTOR, PROTOCOL_DESCRIPTOR + 1
        os.dup2(0, requests, inheritable=False)
        os.dup2(1, replies, inheritable=False)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.close(null)
        self._requests = open(requests, encoding="utf-8")  # noqa: SIM115  as long as the process
        self.replies = replies

    def receive(self) -> Any:
        """The next request; None if there will be no other."""
        line = self._requests.readline()
        return json.loads(line) if line else None

    def send(self, reply: dict[str, Any]) -> None:
        """One reply."""
        rest = memoryview(json.dumps(reply).encode() + b"\n")
        while rest:
            rest = rest[os.write(self.replies, rest) :]


def enter(confinement: Confinement) -> Confinement:
    """Limits, files, user id; returns what is left for `seal`. OSError if a layer that was asked for can't be had."""
    _limit(resource.RLIMIT_AS, confinement.memory_bytes)
    _limit(resource.RLIMIT_NOFILE, MAX_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_STACK, STACK_BYTES)
    readable = confinement.readable
    present = [path for path in readable or () if os.path.exists(path)]
    own_files = readable is not None and view.restrict(readable, confinement.temporary_bytes)
    if confinement.user_id is not None:
        os.setgroups([])
        os.setresgid(*[confinement.user_id] * 3)
        os.setresuid(*[confinement.user_id] * 3)
        own_files = own_files or (readable is not None and view.restrict(readable, confinement.temporary_bytes))
    if sys.platform == "linux":
        alone = view.own_user_namespace()
        if readable is not None and not alone and confinement.user_id is None:  # it would count all that the user runs
            confinement = confinement._replace(processes=None)
        _drop_capabilities()
        _end_with_parent()
    if readable is not None:
        unread = [path for path in present if not os.access(path, os.R_OK)]
        if unread:
            raise OSError(f"a user other than root can't read {unread[0]}, which Python needs")
        landlock.restrict(readable, view.writable() if own_files else view.DEVICES)
    return confinement


def _drop_capabilities() -> None:
    """Root keeps its user id where Python can't be read by others, but none of its powers."""
    import ctypes

    libc = ctypes.CDLL(None)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability))
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())


def _end_with_parent() -> None:
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(SIGKILL))
    if os.getppid() != parent:  # it ended meanwhile
        os._exit(1)


def seal(confinement: Confinement) -> None:
    """The rest: CPU time from here on, no further processes, no network."""
    if sys.platform == "linux":
        _end_with_parent()  # a forked one too: a fork does not take it over
    spent = resource.getrusage(resource.RUSAGE_SELF)
    seconds = confinement.cpu_seconds + int(spent.ru_utime + spent.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU, and SIGKILL if that is ignored
    _limit(resource.RLIMIT_FSIZE, confinement.file_bytes)
    if confinement.processes is not None:
        _limit(resource.RLIMIT_NPROC, confinement.processes)
    if sys.platform == "linux":
        from rewards.sandbox import seccomp as filters

        try:
            filters.apply()
        except OSError:
            if confinement.seccomp:
                raise


def _limit(kind: int, value: int) -> None:
    """Lower a limit; one the system refuses (macOS: memory) is left as it is, the probe says what then holds."""
    hard = resource.getrlimit(kind)[1]
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (limit, limit))


def main(module: str, confinement_json: str) -> None:
    """Confine this process, then serve with `serve(channel, confinement)` of a module of this package."""
    read = json.loads(confinement_json)
    readable = read.pop("readable")
    confinement = Confinement(**read, readable=None if readable is None else tuple(readable))
    serve = importlib.import_module(f"rewards.{module}").serve  # before the files are out of sight
    if sys.platform == "linux":
        importlib.import_module("rewards.sandbox.seccomp")
    channel = Channel()
    try:
        confinement = enter(confinement)
    except OSError as error:
        channel.send({"error": f"{error}"})
        return
    channel.send({"ready": True})
    serve(channel, confinement)
