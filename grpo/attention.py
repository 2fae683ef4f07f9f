"""Attention of completions to a prompt they share and to themselves, in one softmax, with its gradient.

Each part keeps the layout its product comes in: what belongs to the prompt is one matrix product a prompt and head over
all its rows, and is never copied to the rows; only a row's largest score and its sum travel between the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from grpo.exponential import exp

Move = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Sharing:
    """How rows hang on prompts, and what they may see.

    together: [batch, heads, n, k] -> [prompts, heads, samples x n, k]; apart: its inverse. `differentiable` says
    whether they are (each row once, no slot empty). Masks are True where a query sees a key, None where it sees all.
    """

    together: Move
    apart: Move
    differentiable: bool
    time: int
    prefix_mask: mx.array | None  # broadcasts to [prompts, heads, samples x group, time, prompt]
    own_mask: mx.array | None  # broadcasts to [batch, heads, group, time, own]


def shared_attention(
    queries: mx.array,
    prefix_keys: mx.array,
    prefix_values: mx.array,
    keys: mx.array,
    values: mx.array,
    sharing: Sharing,
) -> mx.array:
    """softmax([q prefix_keys', q keys']) [prefix_values; values] (Vaswani et al., arXiv 1706.03762).

    Args:
        queries: [batch, kv_heads, group x time, dims], already scaled; `group` query heads share a key head.
        prefix_keys, prefix_values: [prompts, kv_heads, prompt, dims].
        keys, values: [batch, kv_heads, own, dims].
    Returns:
        [batch, kv_heads, group x time, dims]. A query that sees nothing gets the mean of what it does not see.
    """
    together, apart = sharing.together, sharing.apart

    def attend(
        queries: mx.array, prefix_keys: mx.array, prefix_values: mx.array, keys: mx.array, values: mx.array
    ) -> tuple[mx.array, ...]:
        prefix_scores = _hidden(together(queries) @ prefix_keys.swapaxes(-1, -2), sharing.prefix_mask, sharing.time)
        own_scores = _hidden(queries @ keys.swapaxes(-1, -2), sharing.own_mask, sharing.time)
        highest = mx.maximum(
            apart(prefix_scores.max(axis=-1, keepdims=True)), own_scores.max(axis=-1, keepdims=True)
        )  # [batch, kv_heads, n, 1]
        prefix_masses, own_masses = exp(prefix_scores - together(highest)), exp(own_scores - highest)
        total = apart(prefix_masses.sum(axis=-1, keepdims=True)) + own_masses.sum(axis=-1, keepdims=True)
        share, kind = 1.0 / total, values.dtype
        attended = apart(prefix_masses.astype(kind) @ prefix_values) + own_masses.astype(kind) @ values
        return attended * share.astype(kind), prefix_masses, own_masses, share

    if not sharing.differentiable:
        return attend(queries, prefix_keys, prefix_values, keys, values)[0]
    attention = mx.custom_function(attend)

    @attention.vjp
    def gradient(
        primals: tuple[mx.array, ...], cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, ...]:
        queries, prefix_keys, prefix_values, keys, values = primals
        attended, prefix_masses, own_masses, share = outputs
        kind = values.dtype
        pulled = cotangents[0] * share.astype(kind)  # [batch, kv_heads, n, dims]
        mean = (pulled * attended).astype(mx.float32).sum(axis=-1, keepdims=True)
        shared_pulled = together(pulled)
        own_slopes = (own_masses * (pulled @ values.swapaxes(-1, -2) - mean)).astype(kind)
        slopes = (prefix_masses * (shared_pulled @ prefix_values.swapaxes(-1, -2) - together(mean))).astype(kind)
        gradients = [
            own_slopes @ keys + apart(slopes @ prefix_keys),
            slopes.swapaxes(-1, -2) @ together(queries),
            prefix_masses.astype(kind).swapaxes(-1, -2) @ shared_pulled,
            own_slopes.swapaxes(-1, -2) @ queries,
            own_masses.astype(kind).swapaxes(-1, -2) @ pulled,
        ]
        # all at once, or the masses of every layer would stay until the prompt's gradient is asked for at the end
        return tuple(mx.depends(gradients, gradients))

    return cast("tuple[mx.array, ...]", attention(queries, prefix_keys, prefix_values, keys, values))[0]


def _hidden(scores: mx.array, mask: mx.array | None, time: int) -> mx.array:
    """Scores [.., .., n x time, keys] in float32, the lowest number where the mask is False."""
    scores = scores.astype(mx.float32)
    if mask is None:
        return scores
    first, heads, rows, width = scores.shape
    apart = scores.reshape(first, heads, rows // time, time, width)
    return mx.where(mask, apart, mx.finfo(mx.float32).min).reshape(scores.shape)
