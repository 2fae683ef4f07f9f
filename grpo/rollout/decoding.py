"""Keys and values of a batch that is decoded token by token, whose rows leave and join.

Axes as in grpo.attention.caches.
"""

from collections.abc import Sequence

import mlx.core as mx

from grpo.attention.caches import CompletionCache, PromptCache
from grpo.attention.layout import PrefixLayout
from grpo.rollout.columns import Columns

HAND_OVER = 4  # layers whose operations go to the device at a time


class Places:
    """Where the rows of a decoding batch stand; one object for the caches of all layers.

    Rows that joined late start at a later column (`starts`, [batch] on the host); what stands left of it is masked.
    """

    def __init__(self, layout: PrefixLayout, starts: Sequence[int] | None = None) -> None:
        self.layout = layout
        self.starts = [0] * sum(layout.counts) if starts is None else list(starts)
        self._last: tuple[int, int | mx.array] | None = None
        self._layers = 0  # that have written, of all steps

    def after(self, columns: int) -> int | mx.array:
        """Return the position of the token after this many columns, one for all rows or [batch]."""
        if self._last is None or self._last[0] != columns:
            positions = [n + columns - start for n, start in zip(self.layout.by_row, self.starts, strict=True)]
            self._last = columns, positions[0] if len(set(positions)) == 1 else mx.array(positions)
        return self._last[1]

    def hand_over(self, arrays: Sequence[mx.array]) -> None:
        """Hand the operations of every few layers to the device while the host puts together the next ones.

        Called by every layer; otherwise the device would wait for the operations of a whole step.
        """
        self._layers += 1
        if self._layers % HAND_OVER == 1:
            mx.async_eval(*arrays)


class DecodeCache(CompletionCache):
    """Cache of one layer while rows are decoded token by token: own keys and values in blocks, one column a step."""

    has_gradient = False

    def __init__(self, prompt: PromptCache, places: Places, keys: Columns, values: Columns) -> None:
        super().__init__(prompt, places.layout)
        self.places = places
        # as [dims, prompt] in memory: products of few rows with it are then small ones to a BLAS, and wake no thread
        self.prefix_keys = mx.contiguous(self.prefix_keys.swapaxes(-1, -2)).swapaxes(-1, -2)
        self.own_keys, self.own_values = keys, values
        self.move_to(0)

    def move_to(self, columns: int) -> None:
        """Set the number of columns already written."""
        self.columns, self.offset = columns, self.places.after(columns)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        self.own_keys.write(self.columns, keys)
        self.own_values.write(self.columns, values)
        self.move_to(self.columns + 1)
        self.places.hand_over(self.own_keys.parts)
        return self.own_keys.read(self.columns), self.own_values.read(self.columns)

    def query_positions(self, time: int) -> mx.array:
        return super().query_positions(time) - 1  # update_and_fetch has already counted this token

    def own_mask(self, time: int, keys: int, window: int | None) -> mx.array | None:
        columns, late = mx.arange(keys), max(self.places.starts) > 0
        seen = None
        if late:
            seen = (columns[None] >= mx.array(self.places.starts)[:, None])[:, None, :, None, None]
        if window is not None and keys > window:
            near = (columns > keys - 1 - window)[None, None, :, None, None]
            seen = near if seen is None else seen & near
        return seen


def start(prompts: Sequence[PromptCache], layout: PrefixLayout, *, kv_bits: int = 0) -> list[DecodeCache]:
    """Return the caches of all layers for rows whose decoding begins."""
    places = Places(layout)
    return [DecodeCache(prompt, places, Columns(kv_bits), Columns(kv_bits)) for prompt in prompts]


def join(caches: Sequence[DecodeCache], more: Sequence[PromptCache], layout: PrefixLayout) -> list[DecodeCache]:
    """Add the rows of more prompts after the rows being decoded."""
    before, columns, rows = caches[0].places, caches[0].columns, sum(layout.counts)
    both = PrefixLayout(before.layout.lengths + layout.lengths, before.layout.counts + layout.counts)
    places = Places(both, before.starts + [columns] * rows)
    joined = []
    for old, new in zip(caches, more, strict=True):
        assert new.keys is not None and new.values is not None
        prompt = PromptCache(_stack(old.prefix_keys, new.keys), _stack(old.prefix_values, new.values))
        cache = DecodeCache(prompt, places, old.own_keys.with_more_rows(rows), old.own_values.with_more_rows(rows))
        cache.move_to(columns)
        joined.append(cache)
    return joined


def keep(caches: Sequence[DecodeCache], rows: Sequence[int]) -> list[DecodeCache]:
    """Keep these rows (ascending) alone; drop columns that none of them uses."""
    before, columns = caches[0].places, caches[0].columns
    layout, left = before.layout.keep(rows)
    starts = [before.starts[row] for row in rows]
    unused = min(starts)
    places = Places(layout, [start - unused for start in starts])
    chosen, prompts = mx.array(list(rows)), mx.array(left)
    kept = []
    for old in caches:
        prompt = PromptCache(old.prefix_keys, old.prefix_values)
        if len(left) < before.layout.prompts:
            prompt.keys = old.prefix_keys[prompts, :, : layout.width]
            prompt.values = old.prefix_values[prompts, :, : layout.width]
        cache = DecodeCache(prompt, places, old.own_keys.keep(chosen, unused), old.own_values.keep(chosen, unused))
        cache.move_to(columns - unused)
        kept.append(cache)
    return kept


def _stack(first: mx.array, second: mx.array) -> mx.array:
    """Prompts after one another, the shorter ones padded on the right; [prompts, kv_heads, time, dims]."""
    width = max(first.shape[2], second.shape[2])
    parts = [mx.pad(part, [(0, 0), (0, 0), (0, width - part.shape[2]), (0, 0)]) for part in (first, second)]
    return mx.concatenate(parts)
