"""The ways to isolate a process, each as the command that starts it.

bubblewrap: new namespaces, a read-only file system of Python's own files, sized memory for /tmp. landlock: Landlock
and seccomp, which any Linux process can put on itself, and a mount namespace where it may have one; without that it can
write no file, and see the names and attributes of others. sandbox-exec: macOS
(untested). rlimits: limits alone, no isolation; only on explicit request.
"""

import functools
import importlib.util
import itertools
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rewards.sandbox.guard import Confinement

# For who trains as root: nobody's, another for each program, so that the threads of one don't count against the others.
UNPRIVILEGED_IDS = range(64510, 65534)
PACKAGE = Path(__file__).resolve().parents[1]
IN_BUBBLEWRAP = "/sandbox"
TEMPORARY_BYTES = 16 << 20
MOST_THREADS = 128
# The package is made by hand: its __init__ imports what the sandbox has no use for.
BOOT = (
    "import sys, types; sys.path = [p for p in sys.path if p]; package = types.ModuleType('rewards'); "
    "package.__path__ = [sys.argv[1]]; sys.modules['rewards'] = package; "
    "from rewards.sandbox.guard import main; main(*sys.argv[2:])"
)
_places = itertools.count(os.getpid())  # among them: two trainers begin at different ones
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # the same order of sets, so the same reward, in every run
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "1",  # else each thread reserves 64 MB of the address space
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # else numpy reserves memory for each core
}


@dataclass(frozen=True)
class Limits:
    """Limits of a program."""

    cpu_seconds: int = 4  # of each process; decides, so that rewards do not depend on the machine's load
    memory_bytes: int = 512 << 20
    file_bytes: int = 8 << 20  # of each file, standard output included
    packages: tuple[str, ...] = ()  # installed ones that programs may import

    @property
    def wall_seconds(self) -> float:
        """Backstop, for programs that wait."""
        return 3.0 * self.cpu_seconds + 3.0


@dataclass(frozen=True)
class Isolation:
    """One way to isolate."""

    name: str
    layers: str
    command: Callable[[str, Limits], list[str]]  # module of this package that serves, limits -> command
    platform: str | None  # the one it is for; None: any
    program: str | None  # what has to be installed
    holds: frozenset[str]  # what a probe has to find held
    forks: bool = True  # whether a process serves several inputs by forking, or one
    limits_memory: bool = True
    limits_threads: bool = True  # each program's own; False: only where it may have a namespace of users

    def missing(self) -> str | None:
        """Why it can't be used on this machine; None if it may work."""
        if self.platform not in (None, sys.platform):
            return f"is for {self.platform}"
        lacks = self.program is not None and shutil.which(self.program) is None
        return f"needs {self.program}, which is not installed" if lacks else None


def _python(package: str, module: str, confinement: Confinement) -> list[str]:
    options = ["-s", "-S", "-X", "utf8"]
    return [executable(), *options, "-c", BOOT, package, module, json.dumps(confinement._asdict())]


def _confinement(
    limits: Limits, *, processes: int | None, readable: tuple[str, ...] | None, seccomp: bool, isolated: bool = True
) -> Confinement:
    """`isolated`: never root's user id; otherwise only where another user can read Python's files."""
    other_user = os.geteuid() == 0 and (isolated or all(map(_others_may_read, readable_paths(limits))))
    return Confinement(
        memory_bytes=limits.memory_bytes,
        cpu_seconds=limits.cpu_seconds,
        file_bytes=limits.file_bytes,
        processes=processes,
        user_id=UNPRIVILEGED_IDS[next(_places) % len(UNPRIVILEGED_IDS)] if other_user else None,
        readable=readable,
        temporary_bytes=TEMPORARY_BYTES,
        seccomp=seccomp,
        forks=sys.platform != "darwin",
        packages=package_directories(limits.packages),
    )


@functools.cache
def package_directories(names: tuple[str, ...]) -> dict[str, str]:
    """The directory of each of the packages that is installed."""
    found = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            found[name] = os.path.realpath(spec.submodule_search_locations[0])
    return found


def readable_paths(limits: Limits) -> tuple[str, ...]:
    """Return the paths a program may read: Python's files, the packages and libraries beside them (`numpy.libs`)."""
    places = package_directories(limits.packages).values()
    beside = [f"{place}.libs" for place in places if os.path.isdir(f"{place}.libs")]
    return (*python_paths(), *places, *beside)


@functools.cache
def _others_may_read(path: str) -> bool:
    """Return whether any user gets to a path: root's own Python may be under /root."""
    real = Path(os.path.realpath(path))
    return all(parent.stat().st_mode & 0o001 for parent in real.parents) and bool(real.stat().st_mode & 0o004)


@functools.cache
def executable() -> str:
    """The interpreter itself, without the links of a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@functools.cache
def python_paths() -> tuple[str, ...]:
    """The files Python needs to run: its libraries and the system's, nothing of the user's packages."""
    prefix = Path(executable()).parent.parent
    wanted = [
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),  # not the virtual environment
        *(str(prefix / name) for name in ("lib", "lib64")),
        *("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/nix/store"),
        "/usr/share/zoneinfo",
        "/etc/ld.so.cache",
    ]
    return tuple(dict.fromkeys(path for path in wanted if path and os.path.exists(path)))


def bubblewrap(module: str, limits: Limits) -> list[str]:
    """Own namespaces (users too, unless root, who becomes somebody else inside), capabilities dropped."""
    root = os.geteuid() == 0
    command = [shutil.which("bwrap") or "bwrap"]  # by its path: the environment it gets has none
    command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if root else ["--unshare-user"]
    command += ["--perms", "1777", "--size", str(TEMPORARY_BYTES), "--tmpfs", "/tmp"]
    bound = [*readable_paths(limits), executable()]
    for parent in sorted({str(parent) for path in [*bound, "/dev/null"] for parent in Path(path).parents}):
        command += ["--perms", "0755", "--dir", parent]
    for path in bound:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind", path, path]
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        command += ["--dev-bind", device, device]
    command += ["--ro-bind", str(PACKAGE), IN_BUBBLEWRAP]
    command += ["--chdir", "/tmp", "--remount-ro", "/"]
    confinement = _confinement(limits, processes=MOST_THREADS, readable=None, seccomp=False)
    return [*command, "--", *_python(IN_BUBBLEWRAP, module, confinement)]


def landlock(module: str, limits: Limits) -> list[str]:
    """Plain Python; the guard does the rest, with a mount namespace where it may."""
    confinement = _confinement(limits, processes=MOST_THREADS, readable=readable_paths(limits), seccomp=True)
    return _python(str(PACKAGE), module, confinement)


def sandbox_exec(module: str, limits: Limits) -> list[str]:
    """macOS: reads Python's and the system's libraries, writes nothing, no network, no further processes."""
    # The firmlinked system, the dynamic linker's cache and its devices are what any process reads while it starts.
    system = ["/usr/lib", "/usr/share", "/System", "/Library/Apple", "/private/var/db/dyld", "/dev"]
    prefix = str(Path(executable()).parent.parent)
    readable = [*system, *readable_paths(limits), prefix, sys.base_prefix, str(PACKAGE)]
    rules = " ".join(f"(subpath {json.dumps(os.path.realpath(path))})" for path in dict.fromkeys(readable))
    profile = (
        "(version 1)(deny default)(allow process-exec*)(allow sysctl-read)"
        "(allow signal (target self))"
        f'(allow file-read-metadata)(allow file-read* (literal "/") {rules})'
        '(allow file-write-data (literal "/dev/null"))(deny network*)(deny process-fork)'
    )
    confinement = _confinement(limits, processes=None, readable=None, seccomp=False)
    return ["/usr/bin/sandbox-exec", "-p", profile, *_python(str(PACKAGE), module, confinement)]


def rlimits(module: str, limits: Limits) -> list[str]:
    """A separate process under limits: it can read what the user can, and on macOS start others."""
    return _python(
        str(PACKAGE), module, _confinement(limits, processes=512, readable=None, seccomp=False, isolated=False)
    )


FULL = frozenset({"files", "network", "processes", "writes", "environment"})
ISOLATIONS = {
    one.name: one
    for one in (
        Isolation("bubblewrap", "namespaces, read-only files, seccomp", bubblewrap, "linux", "bwrap", FULL),
        Isolation(
            "landlock",
            "Landlock, seccomp, a mount namespace if it may",
            landlock,
            "linux",
            None,
            FULL,
            limits_threads=False,
        ),
        Isolation(
            "sandbox-exec",
            "sandbox profile (untested)",
            sandbox_exec,
            "darwin",
            "sandbox-exec",
            FULL,
            forks=False,
            limits_memory=False,
        ),
        Isolation(
            "rlimits",
            "limits only: NO isolation",
            rlimits,
            None,
            None,
            frozenset({"environment"}),
            forks=sys.platform != "darwin",
            limits_memory=sys.platform != "darwin",
        ),
    )
}
AUTOMATIC = ("bubblewrap", "landlock", "sandbox-exec")  # in this order; never rlimits
