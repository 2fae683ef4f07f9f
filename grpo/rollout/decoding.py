"""Keys, values and states of a batch that is decoded token by token, whose rows leave and join.

Axes as in grpo.attention.caches.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from grpo.attention.caches import (
    CompletionCache,
    GroupedRepeatedCache,
    PromptCache,
    RepeatedCache,
    RowsCache,
    StateCache,
)
from grpo.attention.layout import PrefixLayout
from grpo.attention.trunk import each, singles, stacked
from grpo.rollout.columns import Columns

HAND_OVER = 4  # layers whose operations go to the device at a time


class Places:
    """Positions of the rows of a decoding batch; one object serves the caches of all layers.

    Rows that joined late start at a later column (`starts`, [batch] on the host); what stands left of it is masked.
    """

    def __init__(self, layout: PrefixLayout, starts: Sequence[int] | None = None) -> None:
        self.layout = layout
        self.starts = [0] * sum(layout.counts) if starts is None else list(starts)
        self._last: tuple[int, int | mx.array] | None = None
        self._layers = 0  # that have written, of all steps

    def move(self, starts: Sequence[int]) -> None:
        """Have the rows start at other columns."""
        self.starts, self._last = list(starts), None

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


class _Columnwise(RowsCache):
    """Own keys and values in blocks of memory, one column a step."""

    has_gradient = False

    def __init__(self, prompt: PromptCache, places: Places, keys: Columns, values: Columns) -> None:
        super().__init__(prompt, places.layout)
        self.places = places
        self.own_keys, self.own_values = keys, values
        self.move_to(0)

    def move_to(self, columns: int) -> None:
        """Set the number of columns already written."""
        self.columns, self.offset = columns, self.places.after(columns)

    def with_own(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        self.own_keys.write(self.columns, keys)
        self.own_values.write(self.columns, values)
        self.move_to(self.columns + 1)
        self.places.hand_over(self.own_keys.parts)
        return self.own_keys.read(self.columns), self.own_values.read(self.columns)

    def query_positions(self, time: int) -> mx.array:
        return super().query_positions(time) + (self.asked_at() - self.columns)

    def asked_at(self) -> int:
        """Return the column of the query when masks are made: `attend` asks when its token has been counted."""
        return self.columns - 1

    def own_mask(self, time: int, keys: int, window: int | None, begin: int = 0) -> mx.array | None:
        columns, late = mx.arange(keys), max(self.places.starts) > 0
        seen = None
        if late:
            seen = (columns[None] >= mx.array(self.places.starts)[:, None])[:, None, :, None, None]
        if window is not None and keys > window:
            near = (columns > keys - 1 - window)[None, None, :, None, None]
            seen = near if seen is None else seen & near
        return seen

    def joined(self, more: PromptCache, places: Places, rows: int) -> "_Columnwise":
        """Return these rows followed by a number of rows of other prompts."""
        pairs = zip(self.arrays[:2], more.arrays, strict=True)
        prompt = PromptCache(
            *(None if a is None or b is None else stacked([a, b]) for a, b in pairs), window=self.window
        )
        cache = type(self)(prompt, places, self.own_keys.with_more_rows(rows), self.own_values.with_more_rows(rows))
        cache.move_to(self.columns)
        return cache

    def keep(self, rows: mx.array, prompts: mx.array | None, places: Places, unused: int) -> "_Columnwise":
        """Return these rows of these prompts (None: all) without the first `unused` columns."""
        prefix = self.arrays[:2]
        if prompts is not None:
            prefix = [array if array is None else array[prompts, :, : places.layout.width] for array in prefix]
        prompt = PromptCache(*prefix, window=self.window)
        cache = type(self)(prompt, places, self.own_keys.keep(rows, unused), self.own_values.keep(rows, unused))
        cache.move_to(self.columns - unused)
        return cache


class DecodeCache(_Columnwise, CompletionCache):
    """Cache of one layer while rows are decoded token by token, with attention of its own."""

    def __init__(self, prompt: PromptCache, places: Places, keys: Columns, values: Columns) -> None:
        super().__init__(prompt, places, keys, values)
        # as [dims, prompt] in memory: products of few rows with it are then small ones to a BLAS, and wake no thread
        if self.prefix_keys is not None:
            self.prefix_keys = mx.contiguous(self.prefix_keys.swapaxes(-1, -2)).swapaxes(-1, -2)


class RepeatedDecodeCache(_Columnwise, RepeatedCache):
    """The same for the model's own attention; it asks for its mask before its token is counted."""

    def asked_at(self) -> int:
        return self.columns

    def own_width(self, time: int) -> int:
        return self.columns + time


class GroupedRepeatedDecodeCache(RepeatedDecodeCache):
    """The same where the model's scores have five axes."""

    mask_axes = 5


DECODE_CACHES: dict[type[RowsCache], type[_Columnwise]] = {
    CompletionCache: DecodeCache,
    RepeatedCache: RepeatedDecodeCache,
    GroupedRepeatedCache: GroupedRepeatedDecodeCache,
}


def start(
    prompts: Sequence[Any], layout: PrefixLayout, *, kind: type[RowsCache] = CompletionCache, kv_bits: int = 0
) -> list[Any]:
    """Return the caches of all layers for rows whose decoding begins, of the kind they have in training."""
    places, kind_of_decoding = Places(layout), DECODE_CACHES[kind]

    def begun(prompt: Any) -> Any:
        if isinstance(prompt, StateCache):
            return prompt.rows(layout.prompt_of_row)
        return kind_of_decoding(prompt, places, Columns(kv_bits), Columns(kv_bits))

    return each(begun, prompts)


def join(caches: Sequence[Any], more: Sequence[Any], layout: PrefixLayout) -> list[Any]:
    """Add the rows of more prompts after the rows being decoded."""
    first, rows = _first(caches), sum(layout.counts)
    places = None
    if first is not None:
        before = first.places
        both = PrefixLayout(before.layout.lengths + layout.lengths, before.layout.counts + layout.counts)
        places = Places(both, before.starts + [first.columns] * rows)

    def joined(old: Any, new: Any) -> Any:
        if isinstance(old, StateCache):
            pairs = zip(old.arrays, new.rows(layout.prompt_of_row).arrays, strict=True)
            return old.holding([None if a is None or b is None else mx.concatenate([a, b]) for a, b in pairs])
        return old.joined(new, places, rows)

    return each(joined, caches, more)


def keep(caches: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    """Keep these rows (ascending) alone; drop columns that none of them uses."""
    first, chosen = _first(caches), mx.array(list(rows))
    if first is None:
        return each(lambda cache: cache.rows(chosen), caches)
    before = first.places
    layout, left = before.layout.keep(rows)
    starts = [before.starts[row] for row in rows]
    unused = min(starts)
    places = Places(layout, [start - unused for start in starts])
    prompts = mx.array(left) if len(left) < before.layout.prompts else None

    def kept(cache: Any) -> Any:
        return cache.rows(chosen) if isinstance(cache, StateCache) else cache.keep(chosen, prompts, places, unused)

    return each(kept, caches)


def _first(caches: Sequence[Any]) -> _Columnwise | None:
    """Return a cache of keys and values, if a layer has one that it uses."""
    return next((cache for cache in singles(caches) if isinstance(cache, _Columnwise) and cache.own_keys.parts), None)
