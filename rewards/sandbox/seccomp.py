"""The seccomp filter of the sandbox: system calls that start processes, reach the network or touch others are denied.

Runs inside the sandbox, through ctypes, on Linux x86_64 and aarch64 (the latter untested). A list of what is denied
and not of what is allowed: Landlock or the mount namespace hide the files, so what remains are the calls that need no
file. Numbers: asm/unistd_64.h and asm-generic/unistd.h; filter: Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import os
import struct

EPERM, ENOSYS = 1, 38
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
CLONE_THREAD = 0x00010000
X32 = 0x40000000  # x86_64 numbers with this bit are the x32 ABI, a second door to every call
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER_MODE = 38, 22, 2
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = tuple(AUDIT_ARCH)

# name: (number on x86_64, number on aarch64); None where the architecture has no such call
DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # the network, and what carries calls past this filter
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # memory that outlives the process or escapes its limit
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # the system
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # what Landlock does not cover: the attributes of files that can't be opened
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}
# Allowed where the first argument is 0 or this process's own id.
SELF_ONLY: dict[str, tuple[int, int]] = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
}
CLONE = (56, 220)  # allowed for threads
CLONE3 = 435  # its flags are out of a filter's reach: "no such call", on which the C library uses clone


def program(machine: str, process: int) -> bytes:
    """The filter, as an array of struct sock_filter, for the process of that id."""
    column = MACHINES.index(machine)
    steps = [
        _step(LOAD, ARCHITECTURE),
        _step(JUMP_EQUAL, AUDIT_ARCH[machine], 1, 0),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER),
        *_deny(JUMP_EQUAL, CLONE3, ENOSYS),
    ]
    if machine == "x86_64":
        steps += _deny(JUMP_AT_LEAST, X32, EPERM)
    for numbers in DENIED.values():
        number = numbers[column]
        if number is not None:
            steps += _deny(JUMP_EQUAL, number, EPERM)
    steps += [
        _step(JUMP_EQUAL, CLONE[column], 0, 4),
        _step(LOAD, FIRST_ARGUMENT),
        _step(JUMP_BITS, CLONE_THREAD, 0, 1),
        _step(RETURN, ALLOW),
        _step(RETURN, ERRNO | EPERM),
    ]
    for own in SELF_ONLY.values():
        steps += [
            _step(JUMP_EQUAL, own[column], 0, 5),
            _step(LOAD, FIRST_ARGUMENT),
            _step(JUMP_EQUAL, 0, 1, 0),
            _step(JUMP_EQUAL, process, 0, 1),
            _step(RETURN, ALLOW),
            _step(RETURN, ERRNO | EPERM),
        ]
    return b"".join([*steps, _step(RETURN, ALLOW)])


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


def _deny(comparison: int, number: int, error: int) -> list[bytes]:
    return [_step(comparison, number, 0, 1), _step(RETURN, ERRNO | error)]
