"""Products of few rows with a matrix, most of the work of decoding, by few_rows.c instead of the BLAS.

The C file is compiled by gcc on first use, for the processor it runs on, and kept in the user's cache. MLX finds its
`cblas_sgemm` before the BLAS's, which gets every other product from there. Where it can't be had (no gcc, no AVX2, not
Linux on x86-64), decoding works as before and takes a quarter to a half more time.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from grpo.cpu import switch

DISABLE_VARIABLE = "GRPO_FEW_ROWS"  # "none" leaves all products to the BLAS
SOURCE = Path(__file__).with_suffix(".c")
MOST_THREADS = 8  # more would wait for the same memory (measured with 2 alone)
DIGEST_BYTES = hashlib.sha256().digest_size
OPTIONS = ("-O3", "-march=native", "-shared", "-fPIC", "-pthread")


class Unavailable(Exception):
    """The library is not available; the message says why and, if there is one, the remedy."""


def load(blas: ctypes.CDLL) -> None:
    """Put it before `blas`, which must not be loaded with RTLD_GLOBAL yet; Unavailable if it can't be had."""
    if switch.plain():
        raise Unavailable(f"{switch.VARIABLE} is set")
    if os.environ.get(DISABLE_VARIABLE) == "none":
        raise Unavailable(f"{DISABLE_VARIABLE} is none")
    if platform.machine() != "x86_64":
        raise Unavailable(f"the processor is not x86-64 but {platform.machine()}")
    product = ctypes.cast(blas.cblas_sgemm, ctypes.c_void_p)
    limit = getattr(blas, "MKL_Set_Num_Threads_Local", None)  # OpenBLAS knows when a thread does best alone
    try:
        library = ctypes.CDLL(str(compiled()), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise Unavailable(" ".join(str(error).split())) from error
    library.few_rows_start(product, min(_cores(), MOST_THREADS), limit and ctypes.cast(limit, ctypes.c_void_p))


def compiled() -> Path:
    """Return the library for this source and processor; one that is damaged is compiled again."""
    processor = {line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")}
    key = hashlib.sha256("\n".join([SOURCE.read_text(), *OPTIONS, *sorted(processor)]).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grpo-mlx"
    path = cache / f"few_rows-{key}.so"
    if _is_whole(path):
        return path
    compiler = shutil.which("gcc")
    if compiler is None:
        raise Unavailable("there is no gcc: install it, e.g. `apt install gcc`")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder) / path.name
        done = subprocess.run([compiler, *OPTIONS, str(SOURCE), "-o", str(made)], capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
            raise Unavailable(f"gcc can't compile it: {said[0]}")
        with made.open("r+b") as file:  # the loader does not look at what follows the library
            file.write(hashlib.sha256(file.read()).digest())
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)  # whole or not at all, whoever else compiles it at the same time
    return path


def _is_whole(path: Path) -> bool:
    """Return whether a library ends in the hash of what comes before: to load one that was cut off ends the process."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]


def _cores() -> int:
    """Return the number of cores this process may use (not hyper-threads), at most OMP_NUM_THREADS."""
    allowed = os.sched_getaffinity(0)
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        cores = len({Path(siblings.format(number)).read_text() for number in allowed})
    except OSError:
        cores = len(allowed)
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) else cores
