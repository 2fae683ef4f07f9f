"""A fast BLAS for MLX on Linux without a GPU.

PyPI's CPU build of MLX links the reference BLAS, which multiplies matrices 40 to 80 times slower than OpenBLAS or
MKL. A library loaded with RTLD_GLOBAL before the first `import mlx.core` serves MLX's BLAS symbols instead, with
nothing rebuilt. On Intel's processors MKL is taken first, with which a training step takes an eighth less time, on
others OpenBLAS; products of few rows go to grpo.cpu.few_rows, where that can be had. Elsewhere (macOS: Accelerate and
Metal; Linux with CUDA: cuBLAS) this module does nothing.
"""

import contextlib
import ctypes
import ctypes.util
import functools
import importlib.metadata
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from grpo.cpu import few_rows
from grpo.cpu.switch import plain, without_blas

REMEDY = "install one with `pip install mkl` or `apt install libopenblas0-pthread`"
DISABLE_VARIABLE = "GRPO_BLAS"  # "none" keeps MLX's own, a path names a library
# On M5-type and CUDA GPUs float32 products keep 11 bits otherwise, those of one row 24: sampler and policy differ.
TF32_VARIABLE = "MLX_ENABLE_TF32"
WIDTH_VARIABLE, WIDTH = "MLX_BFS_MAX_WIDTH", 200  # what grpo.cpu.lanes needs of MLX, which reads it once


@dataclass(frozen=True)
class Blas:
    """Find the library that serves MLX's matrix products on this machine."""

    name: str
    path: str | None
    warning: str | None = None
    few_rows: bool = False  # whether products of few rows are computed by few_rows.c
    few_rows_reason: str | None = None  # if not, and it could have been: why


def _openblas_paths() -> list[str]:
    names = ["libopenblas.so.0", "libopenblas.so"]
    found = ctypes.util.find_library("openblas")
    return [*([found] if found else []), *names]


def _mkl_paths() -> list[str]:
    """PyPI's mkl puts its libraries under the environment's lib folder, outside the loader's search path."""
    folders = [Path(sys.prefix) / "lib", Path(sys.base_prefix) / "lib", Path.home() / ".local" / "lib"]
    return [str(path) for folder in folders for path in sorted(folder.glob("libmkl_rt.so.*"), reverse=True)]


def _preloaded() -> str | None:
    """Name of the BLAS that was loaded with the interpreter itself (LD_PRELOAD): none loaded later comes before it."""
    functions = {"openblas_get_config": "OpenBLAS", "mkl_get_version_string": "MKL"}
    return next((name for function, name in functions.items() if hasattr(ctypes.CDLL(None), function)), None)


def _is_intel() -> bool:
    """Return whether the processor is Intel's, for which MKL is made."""
    with contextlib.suppress(OSError):
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    return False


def _keep_freed_pages() -> None:
    """Let glibc keep the memory that MLX frees; no effect on another C library.

    Memory that is handed back and asked for again is cleared page by page by the kernel, which takes an eighth of a
    training step.
    """
    with contextlib.suppress(AttributeError, OSError):
        set_option = ctypes.CDLL(None).mallopt
        for option, value in ((-3, 1 << 30), (-1, (1 << 31) - 1), (-8, 1)):  # mmap and trim thresholds, one arena
            set_option(option, value)


def _name(path: str) -> str:
    return next((name for name in ("OpenBLAS", "MKL") if name.lower() in path.lower()), Path(path).name)


def _try_load(path: str) -> Blas | None:
    """Load the library for MLX, if there is one; MLX uses the first one loaded."""
    try:
        library = ctypes.CDLL(path, mode=ctypes.RTLD_LOCAL)
        reason = None
        try:
            few_rows.load(library)
        except few_rows.Unavailable as error:
            reason = str(error)
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except (OSError, AttributeError):  # no such file, no library, no BLAS
        return None
    return Blas(_name(path), path, few_rows=reason is None, few_rows_reason=reason)


def has_cuda_backend() -> bool:
    """Return whether MLX's CUDA backend is installed (found without importing mlx)."""
    for name in ("mlx-cuda-13", "mlx-cuda-12", "mlx-cuda"):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return True
    return False


@functools.cache
def load_blas() -> Blas:
    """Load the best BLAS there is; call it before the first import of mlx.core.

    Returns what serves MLX from now on. On Linux without one, `warning` names the remedy. Never raises.
    """
    os.environ.setdefault(TF32_VARIABLE, "0")
    if sys.platform == "darwin":
        return Blas("Accelerate", None)
    if sys.platform != "linux" or has_cuda_backend():
        return Blas("MLX's own", None)
    if not plain():
        _keep_freed_pages()
    wanted = os.environ.get(DISABLE_VARIABLE, "")
    if wanted == "none" or without_blas():
        return Blas("MLX's own", None)
    if "mlx.core" in sys.modules:
        return Blas(
            "MLX's own",
            None,
            "mlx was imported before grpo, so its slow built-in BLAS may be in use: import grpo first",
        )
    if not plain():
        os.environ.setdefault(WIDTH_VARIABLE, str(WIDTH))
    preloaded = _preloaded()
    if preloaded:
        return Blas(preloaded, None, few_rows_reason="the BLAS was loaded before grpo, so all products are its own")
    if _is_intel():
        # the same product gives the same bits wherever its arrays happen to lie in memory: resumed runs repeat
        os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
        paths = [*_mkl_paths(), *_openblas_paths()]
    else:
        paths = [*_openblas_paths(), *_mkl_paths()]
    for path in [*([wanted] if wanted else []), *paths]:
        if blas := _try_load(path):
            return blas
    return Blas("MLX's own", None, f"no fast BLAS found, matrix products will be about 40 times slower: {REMEDY}")
