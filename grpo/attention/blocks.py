"""Attention of long completions in blocks of queries, whose scores are made again in the backward pass.

No array of scores is larger than a bound, in either direction and on every device: memory grows with the length of a
completion and not with its square (as in FlashAttention, arXiv 2205.14135). Each block waits for the one before it, or
MLX would work on many of them at a time.
"""

from collections.abc import Callable
from typing import cast

import mlx.core as mx

from grpo.attention.shared import Sharing, backward, forward
from grpo.cpu.fusion import here

MOST_SCORES = 1 << 24  # of one attention call whose scores may exist, and be kept, all at a time
BLOCK_SCORES = 1 << 22  # of a block of queries otherwise
SMALLEST_BLOCK = 32  # queries


def block_size(heads: int, time: int, keys: int) -> int:
    """Return the number of queries to attend at a time, `time` where all may; `heads` are those of all rows."""
    if heads * time * keys <= MOST_SCORES:
        return time
    return min(time, max(SMALLEST_BLOCK, BLOCK_SCORES // (heads * keys)))


def attention_in_blocks(
    queries: mx.array,
    prefix_keys: mx.array,
    prefix_values: mx.array,
    keys: mx.array,
    values: mx.array,
    sharing: Callable[[int, int], Sharing],
    size: int,
) -> mx.array:
    """`shared_attention` of `size` queries at a time.

    Args:
        queries: [batch, kv_heads, group, time, dims], already scaled; query i sees own keys up to i.
        prefix_keys, prefix_values: [prompts, kv_heads, prompt, dims].
        keys, values: [batch, kv_heads, time, dims].
        sharing: (begin, end) -> who sees what among queries [begin, end) and own keys [0, end).
    Returns:
        [batch, kv_heads, group x time, dims of the values].
    """
    batch, kv_heads, group, time, _ = queries.shape
    spans = [(begin, min(begin + size, time)) for begin in range(0, time, size)]

    def inputs(arrays: tuple[mx.array, ...], begin: int, end: int) -> list[mx.array]:
        queries, prefix_keys, prefix_values, keys, values = arrays
        rows = queries[:, :, :, begin:end].reshape(batch, kv_heads, group * (end - begin), -1)
        return [rows, prefix_keys, prefix_values, keys[:, :, :end], values[:, :, :end]]

    def whole(parts: list[mx.array]) -> mx.array:
        apart = [part.reshape(batch, kv_heads, group, -1, part.shape[-1]) for part in parts]
        return mx.concatenate(apart, axis=3)

    @mx.custom_function
    def attend(*arrays: mx.array) -> mx.array:
        parts: list[mx.array] = []
        for begin, end in spans:
            rows, *others = inputs(arrays, begin, end)
            rows = mx.depends(rows, parts[-1:]) if parts else rows
            parts.append(forward(sharing(begin, end), rows, *others)[0])
        return whole(parts)

    @attend.vjp
    @here
    def gradient(arrays: tuple[mx.array, ...], cotangent: mx.array, _: mx.array) -> tuple[mx.array, ...]:
        by_queries: list[mx.array] = []
        sums = [mx.zeros_like(array) for array in arrays[1:]]
        after = [cotangent]
        for begin, end in spans:
            seen = sharing(begin, end)
            given = mx.depends(inputs(arrays, begin, end), after)
            pulled = cotangent[:, :, :, begin:end].reshape(batch, kv_heads, group * (end - begin), -1)
            by_rows, by_prefix_keys, by_prefix_values, by_keys, by_values = backward(
                seen, given, pulled, forward(seen, *given)
            )
            by_queries.append(by_rows)
            sums[0], sums[1] = sums[0] + by_prefix_keys, sums[1] + by_prefix_values
            sums[2], sums[3] = sums[2].at[:, :, :end].add(by_keys), sums[3].at[:, :, :end].add(by_values)
            after = [by_rows, *sums]
        return tuple(mx.depends([whole(by_queries), *sums], after))

    return cast(mx.array, attend(queries, prefix_keys, prefix_values, keys, values)).reshape(
        batch, kv_heads, group * time, -1
    )
