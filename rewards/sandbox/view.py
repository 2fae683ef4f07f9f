"""A file system of its own for a process that bubblewrap does not make one for: what is not readable is not there.

Landlock refuses to open other files, but not to say whether they exist, how long they are and when they changed; nor
does it let root's own Python be read by another user. A mount namespace does both, where the kernel lets this process
have one: root with CAP_SYS_ADMIN, or anybody by way of a user namespace. Through ctypes; see mount_namespaces(7).
"""

import ctypes
import os
from collections.abc import Sequence

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
READ_ONLY, NO_SETUID, NO_DEVICES, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
KEPT = 2 | 4 | 8 | 1024 | 2048  # flags of a mount that a user namespace can't take away; equal in statvfs and mount
RELATIVE_TIMES, RELATIVE_TIMES_MOUNT = 4096, 1 << 21  # in statvfs, and in mount
DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
TEMPORARY = "/tmp"


def own_user_namespace() -> bool:
    """Enter a namespace of its own users, so that no other process's threads count against its limit; if it may."""
    return int(_libc().unshare(NEW_USER)) == 0


def writable() -> tuple[str, ...]:
    """The paths that may be written to after `restrict`."""
    return (TEMPORARY, *(path for path in DEVICES if os.path.exists(path)))


def restrict(readable: Sequence[str], temporary_bytes: int) -> bool:
    """Leave this process nothing but what is beneath `readable`, some devices and an empty writable /tmp.

    False where it may not; all is then as before. OSError if it fails half-way.
    """
    try:
        _begin()
    except OSError:
        return False
    os.mkdir(f"{TEMPORARY}/old")
    number = PIVOT_ROOT[os.uname().machine]
    _checked(_libc().syscall(number, TEMPORARY.encode(), f"{TEMPORARY}/old".encode()), "pivot_root")
    os.chdir("/")
    os.mkdir(TEMPORARY)
    _mount("none", TEMPORARY, "tmpfs", NO_SETUID | NO_DEVICES, f"size={temporary_bytes},nr_inodes=4096,mode=1777")
    for path in (*sorted(readable, key=len), *DEVICES):  # a directory before what is in it, which it brings along
        _show(path)
    _checked(_libc().umount2(b"/old", DETACH), "umount2")
    os.rmdir("/old")
    os.chdir(TEMPORARY)
    return True


def _begin() -> None:
    """Enter a namespace and mount what is to become the root."""
    if os.uname().machine not in PIVOT_ROOT:
        raise OSError(f"no number of pivot_root for {os.uname().machine}")
    user, group = os.geteuid(), os.getegid()
    _checked(_libc().unshare(NEW_MOUNTS if user == 0 else NEW_MOUNTS | NEW_USER), "unshare")
    if user != 0:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    _mount(None, "/", None, RECURSIVE | PRIVATE)
    _mount("none", TEMPORARY, "tmpfs", NO_SETUID | NO_DEVICES, "size=1m,mode=0755")


def _show(path: str) -> None:
    """Put a path of the old root at the same place in the new one, read-only unless it is a device."""
    old = f"/old{path}"
    if os.path.lexists(path) or not os.path.lexists(old):
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if os.path.islink(old):
        os.symlink(os.readlink(old), path)
        return
    if os.path.isdir(old):
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(old, path, None, BIND | RECURSIVE)
    if path in DEVICES:
        return
    flags = os.statvfs(path).f_flag
    relative = RELATIVE_TIMES_MOUNT if flags & RELATIVE_TIMES else 0
    _mount(None, path, None, REMOUNT | BIND | READ_ONLY | NO_SETUID | NO_DEVICES | (flags & KEPT) | relative)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, options)]
    result = _libc().mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _checked(result, f"mount {target}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")
