"""Two micro-batches at a time on a CPU.

MLX multiplies matrices on every core there, through the BLAS, but does all else of a stream (exponentials, sums,
copies) on one thread. Half of a training step is such work. So micro-batches run side by side on streams of their
own, each with its share of the BLAS's threads. On a GPU, or with a BLAS whose threads can't be set, there is one lane
and nothing changes.
"""

import contextlib
import os
from collections.abc import Iterator

import mlx.core as mx

from grpo.blas import load_blas

MAX_LANES = 4  # each lane computes its prompts anew, so more of them cost more than they save


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Lanes:
    """Streams to run micro-batches on; `count` is 1 where running several at a time gains nothing."""

    def __init__(self, count: int | None = None) -> None:
        on_cpu = mx.default_device().type == mx.DeviceType.cpu
        self.cores = available_cores()
        useful = min(MAX_LANES, self.cores) if on_cpu and load_blas().can_set_threads() else 1
        self.count = useful if count is None else count
        self.streams = [mx.new_stream(mx.default_device()) for _ in range(self.count)]

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Inside, a matrix product uses its lane's share of the cores."""
        if self.count == 1:
            yield
            return
        load_blas().set_threads(max(1, self.cores // self.count))
        try:
            yield
        finally:
            load_blas().set_threads(self.cores)
