"""Describe the machine and measure its rates: the yardsticks of the speed benchmarks."""

import importlib.metadata
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MATRIX = 2000  # rows and columns of the product that is timed: as fast as larger ones, a tenth of a second
COPIED_BYTES = 1 << 28  # far more than any cache holds


@dataclass(frozen=True)
class Limits:
    """Rates measured beside the work that they are the yardstick of."""

    gflops: float  # 1e9 multiplications and additions a second of a float32 matrix product
    bandwidth: float  # bytes read and written a second while memory is copied


def measure_limits() -> Limits:
    """Measured now, on the device MLX uses, in about a second; load the BLAS first."""
    from grpo.doctor.machine import matmul_gflops

    return Limits(matmul_gflops(MATRIX), copy_bandwidth())


def copy_bandwidth(size: int = COPIED_BYTES, runs: int = 5) -> float:
    """Best rate of a copy, bytes read plus bytes written a second: by all cores on a CPU, by MLX on a GPU."""
    import mlx.core as mx

    once = _copied_by_threads if mx.default_device().type == mx.DeviceType.cpu else _copied_by_device
    return 2 * size / min(once(size, runs))


def _copied_by_threads(size: int, runs: int) -> list[float]:
    """Return the seconds of each copy.

    MLX copies on one thread, a memory bus may need several to be busy; numpy lets go of the GIL.
    """
    import numpy as np

    cores = os.cpu_count() or 1
    parts = [(np.ones(size // cores, np.uint8), np.zeros(size // cores, np.uint8)) for _ in range(cores)]
    seconds = []
    with ThreadPoolExecutor(cores) as threads:
        for _ in range(runs):
            start = time.perf_counter()
            list(threads.map(lambda part: np.copyto(part[1], part[0]), parts))
            seconds.append(time.perf_counter() - start)
    return seconds


def _copied_by_device(size: int, runs: int) -> list[float]:
    import mlx.core as mx

    source = mx.zeros(size // 4, mx.float32)
    mx.eval(source, source + 1)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        mx.eval(source + 1)
        seconds.append(time.perf_counter() - start)
    return seconds


def describe() -> dict[str, Any]:
    """Machine, versions, date and the BLAS that measured processes load, for a record; loads no mlx."""
    from grpo.cpu.blas import load_blas

    versions = {name: _version(name) for name in ("grpo-mlx", "mlx", "mlx-lm", "numpy")}
    blas = asdict(load_blas())
    blas["path"] = Path(blas["path"]).name if blas["path"] else None  # not where it lies on this machine
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "blas": {key: value for key, value in blas.items() if value},
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
