"""The doctor's look at the machine: packages, device, BLAS and its speed, memory."""

import importlib.metadata
import os
import platform
import time
from typing import TYPE_CHECKING

from grpo.cpu import switch
from grpo.doctor.report import Report

if TYPE_CHECKING:
    from grpo.cpu.blas import Blas

MATRIX = 1000  # rows and columns of the product that is timed
SLOW_GFLOPS = 20.0  # the reference BLAS gives about 3, one core with OpenBLAS or MKL about 100


def machine(report: Report) -> bool:
    """Python, packages, device, BLAS and its speed, memory; False where mlx can't be used at all."""
    from grpo.cpu.blas import load_blas

    blas = load_blas()  # before mlx is imported
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in ("mlx", "mlx-lm"))]
    report.say("ok", "packages", ", ".join([*versions, f"{platform.system()} {platform.machine()}"]))
    try:
        import mlx.core as mx
    except ImportError as error:
        report.give_up("mlx", f"can't be imported ({error}): pip install 'grpo-mlx[cpu]' on Linux, 'grpo-mlx' on a Mac")
        return False
    device = mx.default_device()
    name = mx.device_info().get("device_name", "") if hasattr(mx, "device_info") else ""
    on_cpu = device.type == mx.DeviceType.cpu
    report.say("ok", "device", f"{'CPU' if on_cpu else 'GPU'}{f', {name}' if name else ''}, {os.cpu_count()} cores")
    if switch.plain():
        report.say("ok", "plain path", switch.SAID)
    speed(report, blas, on_cpu)
    from grpo.memory.available import available_bytes
    from grpo.memory.estimate import in_gb

    size, meaning = available_bytes()
    report.say("ok", "memory", f"{in_gb(size)} {meaning}")
    return True


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def speed(report: Report, blas: "Blas", on_cpu: bool) -> None:
    """The BLAS in use and what it does, with the remedy where that is little."""
    gflops = matmul_gflops()
    said = f"{blas.name}{f' ({blas.path})' if blas.path else ''}: {gflops:.0f} GFLOP/s in float32" if on_cpu else ""
    if not on_cpu:
        report.say("ok", "speed", f"{gflops:.0f} GFLOP/s in float32 on the GPU")
    elif blas.warning or gflops < SLOW_GFLOPS:
        from grpo.cpu.blas import DISABLE_VARIABLE, REMEDY

        disabled = (
            f"{DISABLE_VARIABLE}={os.environ[DISABLE_VARIABLE]} is set; " if DISABLE_VARIABLE in os.environ else ""
        )
        report.say("warn", "BLAS", f"{said}, slow: {disabled}{blas.warning or REMEDY}")
    else:
        report.say("ok", "BLAS", said)
    if on_cpu and blas.few_rows:
        report.say("ok", "few rows", "products of few rows by grpo's own code, made for this processor")
    elif on_cpu and blas.few_rows_reason and not switch.plain():
        report.say("warn", "few rows", f"decoding is slower than it could be: {blas.few_rows_reason}")


def matmul_gflops(size: int = MATRIX, runs: int = 3) -> float:
    """Best speed of a float32 matrix product, in 1e9 multiplications and additions a second."""
    import mlx.core as mx

    left, right = mx.random.normal((size, size)), mx.random.normal((size, size))
    mx.eval(left, right, left @ right)
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        mx.eval(left @ right)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9
