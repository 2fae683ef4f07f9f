"""Landlock, the file sandbox any Linux process can put itself into (ABI 4 or later, Linux 6.7), through ctypes.

After `restrict` nothing can be opened but the given directories; no TCP; from ABI 6 on no signals out of
the sandbox. Numbers: include/uapi/linux/landlock.h.
"""

import ctypes
import os
import struct

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
ASK_VERSION, PATH_BENEATH = 1, 1
WRITE_FILE, READ_FILE, READ_DIRECTORY, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
# And: remove directories and files, make directories and regular files, links; move and link between directories.
CHANGES = WRITE_FILE | READ_FILE | READ_DIRECTORY | TRUNCATE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13
OF_FILES = WRITE_FILE | READ_FILE | TRUNCATE  # the rights that a file, no directory, can be given
OLDEST = 4  # earlier ones let files be truncated or TCP be used
PR_SET_NO_NEW_PRIVS = 38


def version() -> int:
    """The kernel's Landlock ABI; 0 where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(ASK_VERSION))))


def restrict(readable: tuple[str, ...], writable: tuple[str, ...] = ()) -> None:
    """From now on this process and its children open nothing but what is beneath these paths.

    `readable` for reading alone, `writable` also for making, changing and removing files.
    """
    abi = version()
    if abi < OLDEST:
        raise OSError(f"Landlock ABI {OLDEST} is needed, the kernel has {abi}")
    libc = ctypes.CDLL(None, use_errno=True)
    files = (1 << (16 if abi >= 5 else 15)) - 1  # every right there is: execute, write, read, ... truncate, (5) ioctl
    attributes = struct.pack("QQ", files, 0b11)  # bind and connect of TCP
    if abi >= 6:
        attributes += struct.pack("Q", 0b11)  # abstract sockets and signals
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    _checked(ruleset, "landlock_create_ruleset")
    reading, changing = READ_FILE | READ_DIRECTORY, CHANGES
    for path, rights in (*((path, reading) for path in readable), *((path, changing) for path in writable)):
        if not os.path.exists(path):
            continue
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not os.path.isdir(path):
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, ctypes.c_uint(0)), "landlock_add_rule")
        os.close(descriptor)
    zero = ctypes.c_ulong(0)
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero), "prctl")
    _checked(libc.syscall(RESTRICT_SELF, ruleset, ctypes.c_uint(0)), "landlock_restrict_self")
    os.close(ruleset)


def _checked(result: int, call: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")
