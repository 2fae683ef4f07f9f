"""Several examples in one row, attention kept inside each: no padding, and no token that sees another example.

The caches of `grpo.attention.caches` bring their own attention into any mlx_lm model; this one cuts the row at the
examples' edges and runs attention example by example, each at positions 0, 1, 2, ... Every other layer works on single
tokens and runs once over the whole row. Attention this way is also cheaper than one masked square over the row.

Axes: heads, time (all examples of a row one after another), dims.
"""

import functools
import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from grpo.attention.causal import causal_attention
from grpo.attention.layout import pad_rows
from grpo.attention.routing import install_routing
from grpo.model.policy import Policy, raised_in_layer


@dataclass(frozen=True)
class Restart:
    """Offset of a cache whose positions restart at each example."""

    spans: tuple[tuple[int, int], ...]  # [examples] begin and end in the row


class PackedCache:
    """Cache of one layer for one pass over packed rows; it keeps nothing."""

    def __init__(self, lengths: Sequence[int]) -> None:
        ends = list(itertools.accumulate(lengths))
        self.spans = tuple(zip([0, *ends[:-1]], ends, strict=True))
        self.offset = Restart(self.spans)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        return keys, values

    def make_mask(self, time: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """Only the window travels through the model; `attend` knows the rest."""
        return ("window", window_size) if window_size is not None else None

    def attend(self, queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: Any) -> mx.array:
        """Return causal attention inside each example, [1, heads, time, dims].

        `queries` is [1, heads, time, dims], `keys` and `values` are [1, kv_heads, time, dims].
        """
        window = mask[1] if isinstance(mask, tuple) else None
        parts = [
            causal_attention(
                queries[0, :, begin:end], keys[0, :, begin:end], values[0, :, begin:end], scale, window=window
            )
            for begin, end in self.spans
        ]
        return mx.concatenate(parts, axis=1)[None]


def packed_hidden(policy: Policy, rows: Sequence[Sequence[int]]) -> mx.array:
    """Hidden states of all tokens of all rows one after another, [n, hidden]; `packing_refused` must be None."""
    caches = [PackedCache([len(row) for row in rows]) for _ in policy.model.layers]
    return policy.trunk(mx.array([[token for row in rows for token in row]]), caches)[0]


def padded_hidden(policy: Policy, rows: Sequence[Sequence[int]]) -> mx.array:
    """The same from right-padded rows, for architectures that can't be packed."""
    tokens = pad_rows(rows)  # [batch, time]
    hidden = policy.trunk(tokens, policy.whole_caches())
    places = [i * tokens.shape[1] + t for i, row in enumerate(rows) for t in range(len(row))]
    return hidden.reshape(-1, hidden.shape[-1])[mx.array(places)]


def packing_refused(policy: Policy) -> str | None:
    """Return why packed rows do not give this network's own hidden states, None if they do; found out by trying."""
    if not install_routing(policy.model):
        return "the model has an attention of its own"
    _install(policy.model)
    rows = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 1, 2], [2, 2, 1, 4, 1, 3]]
    try:
        packed = packed_hidden(policy, rows)
        alone = mx.concatenate([policy.trunk(mx.array([row]), policy.whole_caches())[0] for row in rows])
    except Exception as error:  # a foreign architecture may refuse a foreign cache in any way; padded rows serve it
        return raised_in_layer(error)
    scale, difference = mx.abs(alone).max(), mx.abs(packed - alone).max()
    tolerance = 1e-4 if alone.dtype == mx.float32 else 5e-2
    same = (difference <= tolerance * scale + 1e-6).item()
    return None if same else "hidden states of packed rows differ from those of rows alone"


def _install(model: nn.Module) -> None:
    """Let every module that takes an offset (the rotary embeddings) understand `Restart`."""
    for kind in {type(part) for part in model.modules()}:
        call = kind.__call__
        if getattr(call, "restarts", False):
            continue
        if _parameters(call)[2:3] == ["offset"]:  # after self and x; whole blocks that take one pass it on
            kind.__call__ = _restarting(call)


def _parameters(call: Any) -> Sequence[str]:
    try:
        return list(inspect.signature(call).parameters)
    except (TypeError, ValueError):
        return []


def _restarting(plain: Any) -> Any:
    @functools.wraps(plain)
    def call(module: nn.Module, x: mx.array, offset: Any = 0, **rest: Any) -> mx.array:
        if not isinstance(offset, Restart):
            return plain(module, x, offset, **rest)
        parts = [plain(module, x[..., begin:end, :], 0, **rest) for begin, end in offset.spans]
        return mx.concatenate(parts, axis=-2)

    call.restarts = True  # type: ignore[attr-defined]
    return call


def balanced_bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Group examples into micro-batches: as few as hold them, filled evenly.

    Longest first into the emptiest bin; one bin more until all fit. Even bins bound the peak memory of a step. An
    example longer than the capacity gets a bin of its own.

    Args:
        lengths: tokens of each example.
        capacity: tokens of a micro-batch.
    Returns:
        indices of the examples of each bin, both in ascending order.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    needed = sum(min(length, capacity) for length in lengths)
    for count in itertools.count(max(1, -(-needed // capacity))):
        bins: list[list[int]] = [[] for _ in range(count)]
        loads = [0] * count
        for i in order:
            emptiest = loads.index(min(loads))
            bins[emptiest].append(i)
            loads[emptiest] += lengths[i]
        if all(load <= capacity or len(chosen) == 1 for load, chosen in zip(loads, bins, strict=True)):
            return sorted(sorted(chosen) for chosen in bins if chosen)
    raise AssertionError("unreachable: a bin an example fits")


def padded_bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """The same for padded rows: neighbours in length together while rows x longest fits."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    bins: list[list[int]] = []
    for i in order:
        if bins and (len(bins[-1]) + 1) * lengths[i] <= capacity:
            bins[-1].append(i)
        else:
            bins.append([i])
    return bins


def padding_share(bins: Sequence[Sequence[int]], lengths: Sequence[int], *, packed: bool) -> float:
    """Share of the positions that run through the network and belong to no example."""
    used = sum(lengths[i] for chosen in bins for i in chosen)
    if packed:
        return 0.0
    total = sum(len(chosen) * max(lengths[i] for i in chosen) for chosen in bins)
    return 1 - used / total
