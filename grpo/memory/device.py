"""Set a GPU's memory limits: how much to keep wired, how much freed memory to hold, and when to release it.

Documented calls of mlx alone; the decisions are tested, what they do on a GPU is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from grpo.model.facts import ModelFacts

# Metal ends a process whose command buffer keeps the display waiting for seconds. A buffer holds up to 50 operations,
# those of about 2.5 blocks; this many multiplications and additions take a slow Apple GPU about a second.
BUFFER_OPERATIONS, BUFFER_BLOCKS = 2e12, 2.5
CACHED = 1 / 4  # of the recommended working set, that freed memory may take: the system has the rest


@dataclass(frozen=True)
class Limits:
    """Bytes that stay wired, and bytes of freed memory that MLX may hold."""

    wired: int
    cache: int


def limits_of(info: Mapping[str, Any]) -> Limits | None:
    """Return the limits for a device of which mx.device_info says this; None where it recommends no working set."""
    recommended = int(info.get("max_recommended_working_set_size") or 0)
    return Limits(recommended, int(CACHED * recommended)) if recommended else None


def limit_memory() -> None:
    """Set the limits for a run on an Apple GPU: weights stay in memory, freed memory does not grow without bound."""
    if not mx.metal.is_available() or not on_gpu():
        return
    limits = limits_of(mx.device_info())
    if limits is not None:
        mx.set_wired_limit(limits.wired)
        mx.set_cache_limit(limits.cache)


def release_freed() -> None:
    """Give freed memory back between sampling and learning, whose arrays have other sizes.

    On a CPU it is kept: there the kernel would clear every page of it again.
    """
    if on_gpu():
        mx.clear_cache()


def evaluation_tokens(facts: ModelFacts) -> int | None:
    """Return how many tokens may be learned from at a time while a display is in use; None where nothing bounds it."""
    if not mx.metal.is_available() or not on_gpu():
        return None
    block = sum(part.inputs * part.outputs for part in facts.linears) / facts.blocks
    return max(1, int(BUFFER_OPERATIONS / (2 * block * BUFFER_BLOCKS)))


def on_gpu() -> bool:
    """Return whether mlx computes on a GPU."""
    return mx.default_device().type != mx.DeviceType.cpu
