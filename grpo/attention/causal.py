"""Causal attention in blocks of queries, with a gradient of its own.

A block of queries looks only at the keys up to its own end, so what stands above the diagonal is never computed. On a
GPU, and for long rows everywhere, the backward pass makes a block's weights again from queries and keys (as
FlashAttention does, arXiv 2205.14135), so memory grows with the length and not with its square; on a CPU, where
exponentials are dear, those of short rows are kept. Scores
stand as [keys, queries], as in grpo.attention.shared. Same numbers as `mx.fast.scaled_dot_product_attention` to
rounding.
"""

from typing import cast

import mlx.core as mx

from grpo.cpu.exponential import LOWEST, exp, on_cpu
from grpo.cpu.fusion import here

BLOCK = 128  # queries


def causal_attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    scale: float,
    *,
    window: int | None = None,
    block: int = BLOCK,
    keeps: bool | None = None,
) -> mx.array:
    """softmax(scale * q k^T, over the keys at or before each query) v.

    Args:
        queries: [..., heads, time, dims].
        keys, values: [..., kv_heads, earlier + time, dims]; the queries are those of the last keys. heads is a
            multiple of kv_heads.
        scale: of the scores, usually dims ** -0.5.
        window: keys a query sees, itself included; None = all before it.
        block: queries whose weights exist at a time.
        keeps: whether the weights are kept for the backward pass; None = on a CPU.
    Returns:
        [..., heads, time, dims of the values].
    """
    time = keys.shape[-2]
    earlier = time - queries.shape[-2]
    keys, values = mx.contiguous(keys), mx.contiguous(values)  # or every block would copy its part for its products
    keeps = on_cpu(queries) if keeps is None else keeps
    parts: list[mx.array] = []
    for begin in range(earlier, time, block):
        end = min(begin + block, time)
        first = 0 if window is None else max(0, begin - window + 1)
        masked = begin if window is None else first  # a query may not see all keys from here on
        block_keys, block_values = keys[..., first:end, :], values[..., first:end, :]
        bias = _bias(begin, end, masked, window)
        rows = queries[..., begin - earlier : end - earlier, :]
        rows = mx.depends(rows, parts[-1:]) if parts and not keeps else rows  # one block's weights at a time
        parts.append(_block(rows, block_keys, block_values, bias, scale, keeps=keeps))
    return mx.concatenate(parts, axis=-2) if len(parts) > 1 else parts[0]


def _bias(begin: int, end: int, first: int, window: int | None) -> mx.array:
    """0 where queries [begin, end) see keys [first, end), LOWEST elsewhere; [keys, queries]."""
    distance = mx.arange(begin, end)[None] - mx.arange(first, end)[:, None]
    seen = distance >= 0
    return mx.where(seen if window is None else seen & (distance < window), 0.0, LOWEST)


def _block(
    queries: mx.array, keys: mx.array, values: mx.array, bias: mx.array, scale: float, *, keeps: bool
) -> mx.array:
    """Attention of a block of queries to all keys it may see, `bias` being that of the last ones.

    Returns [..., heads, n, dims].
    """
    *before, heads, n, dims = queries.shape
    kv_heads, biased = keys.shape[-3], bias.shape[0]
    bias = mx.tile(bias, (1, heads // kv_heads))  # [keys, group * n]: the heads that share keys stand in one product

    def scores(rows: mx.array, keys: mx.array) -> mx.array:  # [..., kv_heads, keys, group * n]
        found = (keys @ (rows * scale).swapaxes(-1, -2)).astype(mx.float32)
        return found.at[..., keys.shape[-2] - biased :, :].add(bias)

    @mx.custom_function
    def attend(rows: mx.array, keys: mx.array, values: mx.array) -> tuple[mx.array, ...]:
        scored = scores(rows, keys)
        highest = scored.max(axis=-2, keepdims=True)
        masses = exp(scored - highest)
        total = masses.sum(axis=-2, keepdims=True)  # [..., 1, group * n]
        attended = masses.astype(values.dtype).swapaxes(-1, -2) @ values
        attended = attended / total.swapaxes(-1, -2).astype(values.dtype)
        return (attended, total, masses) if keeps else (attended, highest + mx.log(total))

    @attend.vjp
    @here
    def gradient(
        primals: tuple[mx.array, ...], cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, mx.array, mx.array]:
        cotangent, attended = cotangents[0], outputs[0]
        rows, keys, values = mx.depends(list(primals), [cotangent])  # not before the backward pass gets here
        if keeps:
            share, weights = cotangent / outputs[1].swapaxes(-1, -2), outputs[2]
        else:
            share, weights = cotangent, exp(scores(rows, keys) - outputs[1]).astype(values.dtype)
        mean = (share * attended).sum(axis=-1, keepdims=True)  # over the keys, of weight * pulled
        pulled = (values @ share.swapaxes(-1, -2) - mean.swapaxes(-1, -2)) * weights  # [..., keys, group * n]
        return (
            scale * (pulled.swapaxes(-1, -2) @ keys),
            scale * (pulled @ rows),
            weights @ share,
        )

    rows = queries.reshape(*before, kv_heads, heads // kv_heads * n, dims)
    return cast("tuple[mx.array, ...]", attend(rows, keys, values))[0].reshape(*queries.shape[:-1], -1)
