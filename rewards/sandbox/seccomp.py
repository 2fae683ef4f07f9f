"""The seccomp filter of the sandbox: a program may make the system calls of a list, every other is refused.

Runs inside the sandbox, through ctypes, on Linux x86_64 and aarch64 (the latter untested). What is allowed is what
Python needs to compute, to read files and to wait for itself; no call that starts a process, opens a socket, or acts
on another process or on the attributes of a file. New calls of the kernel are refused without anyone's doing. Numbers:
asm/unistd_64.h and asm-generic/unistd.h; filter: Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import os
import struct
from typing import NamedTuple

EPERM, ENOSYS = 1, 38
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, AND, JUMP_EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER_MODE = 38, 22, 2
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = tuple(AUDIT_ARCH)

# name: (number on x86_64, number on aarch64); None where the architecture has no such call
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # files that are open
    "read": (0, 63),
    "write": (1, 64),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "preadv2": (327, 286),
    "pwritev2": (328, 287),
    "close": (3, 57),
    "close_range": (436, 436),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "ftruncate": (77, 46),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "flock": (73, 32),
    "fadvise64": (221, 223),
    "fallocate": (285, 47),
    "fchdir": (81, 50),
    "getdents": (78, None),
    "getdents64": (217, 61),
    "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    "fstatfs": (138, 44),
    # files by name, of which Landlock or the mount namespace shows few
    "open": (2, None),
    "openat": (257, 56),
    "creat": (85, None),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "umask": (95, 166),
    # memory
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "msync": (26, 227),
    "mincore": (27, 232),
    # threads, and waiting
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "set_tid_address": (218, 96),
    "arch_prctl": (158, None),
    "membarrier": (324, 283),
    "sched_yield": (24, 124),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
    "getcpu": (309, 168),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "wait4": (61, 260),
    "waitid": (247, 95),
    # signals to itself
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    "pause": (34, None),
    "alarm": (37, None),
    "setitimer": (38, 103),
    "getitimer": (36, 102),
    # what it is told
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getgroups": (115, 158),
    "getpgrp": (111, None),
    "setrlimit": (160, 164),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "time": (201, None),
    "gettimeofday": (96, 169),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "getrandom": (318, 278),
    # pipes and pairs of sockets
    "pipe": (22, None),
    "pipe2": (293, 59),
    "select": (23, None),
    "pselect6": (270, 72),
    "poll": (7, None),
    "ppoll": (271, 73),
    "epoll_create": (213, None),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "eventfd": (284, None),
    "eventfd2": (290, 19),
    "recvfrom": (45, 207),
    "shutdown": (48, 210),
    "getsockopt": (55, 209),
    "getsockname": (51, 204),
    "getpeername": (52, 205),
}
CLONE3 = 435  # its flags are out of a filter's reach: "no such call", on which the C library uses clone
OWN = -1  # stands for this process's own id


class Only(NamedTuple):
    """A call that is allowed where `argument & mask` is one of `values`."""

    numbers: tuple[int, int]  # on x86_64 and aarch64
    argument: int  # 0 is the first
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    error: int = EPERM

    @property
    def offset(self) -> int:
        """Return the offset of the argument's lower half in struct seccomp_data (both machines are little-endian)."""
        return FIRST_ARGUMENT + 8 * self.argument


CLONE_THREAD, NEW_NAMESPACES = 0x00010000, 0x7E020080
UNIX, STREAM, SOCKET_KIND = 1, 1, 0xF
# Duplicates, flags and locks; not F_SETOWN and F_SETSIG, by which the kernel would signal other processes.
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)
TERMINAL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
NAMES = (15, 16, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: of threads and of memory
# Rules of the same call follow one another: all of them have to hold.
LIMITED = {
    "clone": (Only((56, 220), 0, (CLONE_THREAD,), CLONE_THREAD | NEW_NAMESPACES),),
    "fcntl": (Only((72, 25), 1, FCNTL),),
    "ioctl": (Only((16, 29), 1, TERMINAL),),
    "prctl": (Only((157, 167), 0, NAMES),),
    "kill": (Only((62, 129), 0, (OWN,)),),
    "tgkill": (Only((234, 131), 0, (OWN,)),),
    "prlimit64": (Only((302, 261), 0, (0, OWN)),),
    "getpgid": (Only((121, 155), 0, (0, OWN)),),
    "getsid": (Only((124, 156), 0, (0, OWN)),),
    "getpriority": (Only((140, 141), 1, (0, OWN)),),
    "sched_getparam": (Only((143, 121), 0, (0, OWN)),),
    "sched_getscheduler": (Only((145, 120), 0, (0, OWN)),),
    # the C library asks for the cores of a thread, and does without where there is no such call
    "sched_getaffinity": (Only((204, 123), 0, (0, OWN), error=ENOSYS),),
    "sched_setparam": (Only((142, 118), 0, (0, OWN)),),
    "sched_setscheduler": (Only((144, 119), 0, (0, OWN)),),
    "sched_setaffinity": (Only((203, 122), 0, (0, OWN)),),
    # asyncio wakes itself by a pair of stream sockets; one of datagrams could send to any address
    "socketpair": (Only((53, 199), 0, (UNIX,)), Only((53, 199), 1, (STREAM,), SOCKET_KIND)),
    "sendto": (Only((44, 206), 4, (0,)), Only((44, 206), 5, (0,))),
}


def program(machine: str, process: int) -> bytes:
    """The filter, as an array of struct sock_filter, for the process of that id."""
    column = MACHINES.index(machine)
    steps = [
        _step(LOAD, ARCHITECTURE),
        _step(JUMP_EQUAL, AUDIT_ARCH[machine], 1, 0),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER),
    ]
    for numbers in ALLOWED.values():
        number = numbers[column]
        if number is not None:
            steps += [_step(JUMP_EQUAL, number, 0, 1), _step(RETURN, ALLOW)]
    for rules in LIMITED.values():
        body = [step for rule in rules for step in _rule(rule, process)]
        steps += [_step(JUMP_EQUAL, rules[0].numbers[column], 0, len(body) + 1), *body, _step(RETURN, ALLOW)]
    steps += [_step(JUMP_EQUAL, CLONE3, 0, 1), _step(RETURN, ERRNO | ENOSYS)]
    return b"".join([*steps, _step(RETURN, ERRNO | EPERM)])


def _rule(rule: Only, process: int) -> list[bytes]:
    """Steps that refuse the call unless the rule holds, and go on behind them if it does."""
    values = [process if value == OWN else value for value in rule.values]
    tests = [_step(JUMP_EQUAL, value, len(values) - at, 0) for at, value in enumerate(values)]
    masked = [_step(AND, rule.mask)] if rule.mask != 0xFFFFFFFF else []
    return [_step(LOAD, rule.offset), *masked, *tests, _step(RETURN, ERRNO | rule.error)]


def apply() -> None:
    """Filter this process from now on. OSError where the machine or the kernel can't."""
    machine = os.uname().machine
    if machine not in AUDIT_ARCH:
        raise OSError(f"no list of system calls for {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    code = program(machine, os.getpid())
    held = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))  # struct sock_fprog
    for option, first, second in ((PR_SET_NO_NEW_PRIVS, 1, None), (PR_SET_SECCOMP, FILTER_MODE, header)):
        zero = ctypes.c_ulong(0)
        if libc.prctl(option, ctypes.c_ulong(first), second if second is not None else zero, zero, zero) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
