"""Rows of a decoding batch read what their environments wrote: all at once, into the caches they are decoded with."""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from grpo.attention.caches import CompletionCache, PromptCache
from grpo.attention.layout import PrefixLayout, pad_rows
from grpo.attention.trunk import trunk_caches
from grpo.model.policy import Policy
from grpo.rollout.decoding import DecodeCache


def can_read(policy: Policy) -> bool:
    """Return whether a batch's rows can be at different turns.

    Every layer must keep keys of its own and attend as here: states can't be taken back when a row waits.
    """
    caches = trunk_caches(policy.model)
    if policy.rows_cache is not CompletionCache or any(not isinstance(cache, PromptCache) for cache in caches):
        return False
    policy.trunk(mx.array([[0]]), caches)
    return all(cache.keys is not None for cache in caches)


class ReadCache(CompletionCache):
    """Cache of one layer while rows read what their environments wrote, after what each has decoded, in one call.

    What is known of each row stands at the right of `own`, its keys and values, [rows, kv_heads, most, dims]; what it
    reads comes after that, padded on the right.
    """

    has_gradient = False

    def __init__(
        self,
        prompt: PromptCache,
        layout: PrefixLayout,
        own: tuple[mx.array | None, mx.array | None],
        known: Sequence[int],
    ) -> None:
        super().__init__(prompt, layout)
        self.own = own
        self.empty = max(known) - mx.array(list(known))  # columns on the left, [rows]
        self.offset = layout.row_lengths + mx.array(list(known))
        self.read: tuple[mx.array, mx.array] | None = None  # keys and values of what was read

    def with_own(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        self.read = keys, values
        if self.own[0] is None or self.own[1] is None:
            return keys, values
        return mx.concatenate([self.own[0], keys], axis=2), mx.concatenate([self.own[1], values], axis=2)

    def own_mask(self, time: int, keys: int, window: int | None, begin: int = 0) -> mx.array | None:
        columns = mx.arange(keys)[:, None]
        distance = mx.arange(keys - time, keys)[None] - columns  # [keys, time]
        seen = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
        return (seen[None] & (columns[None] >= self.empty[:, None, None]))[:, None, :, None]


def extend(
    caches: Sequence[DecodeCache],
    rows: Sequence[int],
    tokens: Sequence[Sequence[int]],
    known: Sequence[int],
    trunk: Callable[[mx.array, Sequence[Any]], mx.array],
) -> mx.array:
    """Run what is new of some rows' tokens, all at once, and put it in the caches; return hidden states [rows, hidden].

    Args:
        caches: those of all layers; changed in place. The rows then end at the same column as the others do.
        rows: which, ascending.
        tokens: each row's own from its prompt on, [rows][time].
        known: of these at most have run; what stands beyond in the caches is dropped.
        trunk: tokens [rows, time] and caches -> [rows, time, hidden].
    """
    places, columns = caches[0].places, caches[0].columns
    starts = [places.starts[row] for row in rows]
    known = [min(n, columns - start) for n, start in zip(known, starts, strict=True)]
    new = [row[n:] for row, n in zip(tokens, known, strict=True)]
    layout, prompts = places.layout.keep(rows)
    chosen, most = mx.array(list(rows)), max(known)
    past = mx.array(
        [[max(0, start + n - most + i) for i in range(most)] for start, n in zip(starts, known, strict=True)]
    )
    readers = [
        ReadCache(
            _prompts_of(cache, mx.array(prompts), layout.width),
            layout,
            (cache.own_keys.gather(chosen, past), cache.own_values.gather(chosen, past)),
            known,
        )
        for cache in caches
    ]
    hidden = trunk(pad_rows(new), readers)  # [rows, time, hidden]
    width = max(columns, *map(len, tokens))
    starts_after = [start + width - columns for start in places.starts]
    source = []
    for row, start, row_tokens, n in zip(rows, starts, tokens, known, strict=True):
        starts_after[row] = width - len(row_tokens)
        source.append(
            [0] * starts_after[row] + [start + i if i < n else columns + i - n for i in range(len(row_tokens))]
        )
    places.move(starts_after)
    for cache, reader in zip(caches, readers, strict=True):
        assert reader.read is not None
        cache.own_keys.put(chosen, mx.array(source), columns, reader.read[0], len(starts_after))
        cache.own_values.put(chosen, mx.array(source), columns, reader.read[1], len(starts_after))
        cache.move_to(width)
    return hidden[mx.arange(len(rows)), mx.array([len(row) - 1 for row in new])]


def _prompts_of(cache: DecodeCache, prompts: mx.array, width: int) -> PromptCache:
    assert cache.prefix_keys is not None and cache.prefix_values is not None
    return PromptCache(
        cache.prefix_keys[prompts, :, :width], cache.prefix_values[prompts, :, :width], window=cache.window
    )
