"""Put leaves together, so that few collectives carry them all."""

from collections.abc import Mapping

import mlx.core as mx

FUSED_BYTES = 64 << 20  # of one collective


def fused(leaves: Mapping[str, mx.array]) -> list[dict[str, mx.array]]:
    """Put leaves of one type together, up to FUSED_BYTES; a larger one is alone."""
    parts: list[dict[str, mx.array]] = []
    open_parts: dict[mx.Dtype, dict[str, mx.array]] = {}
    filled: dict[mx.Dtype, int] = {}
    for name, leaf in sorted(leaves.items()):
        if leaf.dtype not in open_parts or filled[leaf.dtype] + leaf.nbytes > FUSED_BYTES:
            open_parts[leaf.dtype], filled[leaf.dtype] = {}, 0
            parts.append(open_parts[leaf.dtype])
        open_parts[leaf.dtype][name] = leaf
        filled[leaf.dtype] += leaf.nbytes
    return parts
