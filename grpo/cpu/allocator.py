"""Let a thread keep more of the small pieces of memory that it frees, if glibc is the C library.

MLX makes a dozen of them for every operation, on one thread, and frees them on another. glibc keeps 7 of a size for a
thread and then asks the heap both share; with 1,000 a decoding step takes 4% less time. It reads the number when a
process starts and never again, so a command starts itself anew with it.
"""

import contextlib
import os
import platform
import sys

from grpo.cpu.blas import has_cuda_backend
from grpo.cpu.switch import plain

VARIABLE = "GLIBC_TUNABLES"  # one that is set already is left as it is
SETTING = "glibc.malloc.tcache_count=1000"


def environment() -> dict[str, str]:
    """What a process that decodes on this machine's CPU is to be started with, besides what is set."""
    changes = (
        not plain() and VARIABLE not in os.environ and platform.libc_ver()[0] == "glibc" and not has_cuda_backend()
    )
    return {VARIABLE: SETTING} if changes else {}


def restart() -> None:
    """Restart this command in the same process if `environment` requires it; call this before anything else."""
    added = environment()
    if added and sys.executable:
        with contextlib.suppress(OSError):  # without it, it is slower and no less right
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **added})
