"""Attention of completions to a prompt they share and to themselves, in one softmax, with its gradient.

Each part keeps the layout its product comes in: what belongs to the prompt is one matrix product a prompt and head over
all its rows, and is never copied to the rows; only a query's largest score and its sum travel between the two. Scores
stand as [keys, queries]: to go through the keys of all queries at once is what MLX's CPU does fastest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import mlx.core as mx

from grpo.cpu.exponential import LOWEST, exp
from grpo.cpu.fusion import here

Move = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Sharing:
    """The prompt of each row and the keys each query may see.

    together: [batch, heads, n, k] -> [prompts, heads, samples x n, k]; apart: its inverse. below: [prompts, heads, m,
    samples x n] and [batch, heads, n, k] -> [prompts, heads, m + k, samples x n]; back: what came below as it was.
    `differentiable` says whether they are (each row once, no slot empty). Masks are True where a query sees a key, None
    where it sees all.
    """

    together: Move
    apart: Move
    below: Callable[[mx.array, mx.array], mx.array]
    back: Move
    differentiable: bool
    time: int
    prefix_mask: mx.array | None  # broadcasts to [prompts, heads, prompt, samples x group, time]
    own_mask: mx.array | None  # broadcasts to [batch, heads, own, group, time]


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
    arrays = queries, prefix_keys, prefix_values, keys, values
    if not sharing.differentiable:
        return _attended(*arrays, sharing)
    attention = mx.custom_function(partial(forward, sharing))

    @attention.vjp
    @here
    def gradient(
        primals: tuple[mx.array, ...], cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, ...]:
        gradients = backward(sharing, primals, cotangents[0], outputs)
        # all at once, or the masses of every layer would stay until the prompt's gradient is asked for at the end
        return tuple(mx.depends(gradients, gradients))

    return cast("tuple[mx.array, ...]", attention(*arrays))[0]


def forward(
    sharing: Sharing,
    queries: mx.array,
    prefix_keys: mx.array,
    prefix_values: mx.array,
    keys: mx.array,
    values: mx.array,
) -> tuple[mx.array, ...]:
    """Return what `shared_attention` returns, and what `backward` needs of it."""
    together, apart = sharing.together, sharing.apart
    prefix_scores = _prefix_scores(queries, prefix_keys, sharing)
    own_scores = _hidden(keys @ _turned(queries), sharing.own_mask, sharing.time)  # [batch, kv_heads, own, n]
    highest = mx.maximum(
        apart(_turned(prefix_scores.max(axis=-2, keepdims=True))), _turned(own_scores.max(axis=-2, keepdims=True))
    )  # [batch, kv_heads, n, 1]
    prefix_masses = exp(prefix_scores - _turned(together(highest)))
    own_masses = exp(own_scores - _turned(highest))
    prefix_sums, own_sums = (_turned(masses.sum(axis=-2, keepdims=True)) for masses in (prefix_masses, own_masses))
    share, kind = 1.0 / (apart(prefix_sums) + own_sums), values.dtype
    attended = apart(_turned(prefix_masses.astype(kind)) @ prefix_values)
    attended = attended + _turned(own_masses.astype(kind)) @ values
    return attended * share.astype(kind), prefix_masses, own_masses, share


def backward(
    sharing: Sharing, primals: Sequence[mx.array], cotangent: mx.array, outputs: Sequence[mx.array]
) -> list[mx.array]:
    """Return the gradient by every array that `forward` takes, from what it returned."""
    queries, prefix_keys, prefix_values, keys, values = primals
    attended, prefix_masses, own_masses, share = outputs
    together, apart, kind = sharing.together, sharing.apart, values.dtype
    pulled = cotangent * share.astype(kind)  # [batch, kv_heads, n, dims]
    mean = (pulled * attended).astype(mx.float32).sum(axis=-1, keepdims=True)
    shared_pulled = together(pulled)
    own_slopes = (own_masses * (values @ _turned(pulled) - _turned(mean))).astype(kind)
    slopes = (prefix_masses * (prefix_values @ _turned(shared_pulled) - _turned(together(mean)))).astype(kind)
    return [
        _turned(own_slopes) @ keys + apart(_turned(slopes) @ prefix_keys),
        slopes @ together(queries),
        prefix_masses.astype(kind) @ shared_pulled,
        own_slopes @ queries,
        own_masses.astype(kind) @ pulled,
    ]


def _attended(
    queries: mx.array,
    prefix_keys: mx.array,
    prefix_values: mx.array,
    keys: mx.array,
    values: mx.array,
    sharing: Sharing,
) -> mx.array:
    """Attend without a gradient, both parts in one array: a decoding step gains by fewer operations."""
    prefix_scores = _prefix_scores(queries, prefix_keys, sharing)
    own_scores = queries @ _turned(keys)  # a BLAS is twice as fast with the few queries in a row's place
    if sharing.own_mask is not None:
        own_scores = _turned(_hidden(_turned(own_scores), sharing.own_mask, sharing.time))
    scores = sharing.below(prefix_scores, own_scores.astype(mx.float32))
    masses = exp(scores - scores.max(axis=-2, keepdims=True))  # [prompts, kv_heads, prompt + own, samples x n]
    shares = (masses * (1.0 / masses.sum(axis=-2, keepdims=True))).astype(values.dtype)
    width = prefix_scores.shape[-2]
    attended = sharing.apart(_turned(shares[..., :width, :]) @ prefix_values)
    return attended + sharing.back(shares[..., width:, :]) @ values


def _turned(matrices: mx.array) -> mx.array:
    """Transpose the last two axes: [.., n, k] -> [.., k, n]."""
    return matrices.swapaxes(-1, -2)


def _prefix_scores(queries: mx.array, prefix_keys: mx.array, sharing: Sharing) -> mx.array:
    """Return the scores of the prompts' keys, [prompts, kv_heads, prompt, samples x n]."""
    scores = prefix_keys @ _turned(sharing.together(queries))
    return _hidden(scores, sharing.prefix_mask, sharing.time)


def _hidden(scores: mx.array, mask: mx.array | None, time: int) -> mx.array:
    """Scores [.., .., keys, n x time] in float32, LOWEST where the mask is False."""
    scores = scores.astype(mx.float32)
    if mask is None:
        return scores
    first, heads, width, columns = scores.shape
    apart = scores.reshape(first, heads, width, columns // time, time)
    return mx.where(mask, apart, LOWEST).reshape(scores.shape)
