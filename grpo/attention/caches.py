"""One prompt, many completions: the prompt is computed once and every completion goes on from what it left behind.

mlx_lm models hand each layer a cache object. The caches here carry a prompt's keys and values, or the states of its
recurrent layers (with gradient, when the caller is inside one), so that any model which follows that protocol shares
its prompts without a line of its code being repeated. Two kinds of keys and values follow a prompt: `CompletionCache`
brings its own attention, in which a prompt's keys are never copied to its rows; `RepeatedCache` repeats them for every
row and serves models whose attention is their own (soft caps, sinks, latent keys).

Axes: prompts, samples, batch (= prompts x samples, a prompt's samples next to each other), heads, time, dims.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache

from grpo.attention.blocks import attention_in_blocks, block_size
from grpo.attention.layout import PrefixLayout
from grpo.attention.shared import Sharing, shared_attention


class PromptCache:
    """Cache of one layer during the prompt's pass: keeps what the layer computed, [prompts, kv_heads, time, dims].

    What begins with keys and values goes on after them, as after an earlier part of the prompts.
    """

    start_position = 0  # of the first key that is kept, for models that cut their keys into chunks

    def __init__(
        self, keys: mx.array | None = None, values: mx.array | None = None, *, window: int | None = None
    ) -> None:
        self.keys, self.values = keys, values
        self.window = window  # keys a query sees where the model does not say

    @property
    def arrays(self) -> list[mx.array | None]:
        """Everything that has been computed, in the order that `holding` takes."""
        return [self.keys, self.values]

    @arrays.setter
    def arrays(self, arrays: Sequence[mx.array | None]) -> None:
        self.keys, self.values = arrays

    def holding(self, arrays: Sequence[mx.array | None]) -> "PromptCache":
        """Return such a cache with these arrays."""
        return PromptCache(*arrays, window=self.window)

    def until(self, time: int) -> "PromptCache":
        """Return what this cache was after its first `time` tokens."""
        return self.holding([None if array is None else array[:, :, :time] for array in self.arrays])

    def of(self, prompts: int) -> "PromptCache":
        """Repeat the one cached prompt as the beginning of several."""
        return self.holding([_repeated(array, prompts) for array in self.arrays])

    @property
    def offset(self) -> int:
        """Number of tokens that have run."""
        return 0 if self.keys is None else self.keys.shape[2]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        if self.keys is not None and self.values is not None:
            keys = mx.concatenate([self.keys, keys], axis=2)
            values = mx.concatenate([self.values, values], axis=2)
        self.keys, self.values = keys, values
        return keys, values

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """Return all keys and values so far, for layers that use another layer's."""
        assert self.keys is not None and self.values is not None
        return self.keys, self.values

    def maybe_trim_front(self) -> None:
        """Keep all keys: masks hide those of an earlier chunk."""

    def make_mask(self, time: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """Return the causal mask alone: no prompt token attends to the padding on its right."""
        window, end = window_size or self.window, self.offset + time
        if return_array or (window is not None and end > window):
            distance = mx.arange(self.offset, end)[:, None] - mx.arange(end)[None]
            mask = distance >= 0
            return mask & (distance < window) if window is not None else mask
        return None if time == 1 else "causal"


class StateCache(ArraysCache):
    """States of one recurrent layer (of a convolution, a scan), each [prompts or batch, ...]; None before the first."""

    def __init__(self, states: Sequence[mx.array | None]) -> None:
        super().__init__(len(states))
        self.cache = list(states)  # type: ignore[arg-type]

    @property
    def arrays(self) -> list[mx.array | None]:
        return list(self.cache)

    @arrays.setter
    def arrays(self, arrays: Sequence[mx.array | None]) -> None:
        self.cache = list(arrays)  # type: ignore[arg-type]

    def holding(self, arrays: Sequence[mx.array | None]) -> "StateCache":
        """Return such a cache with these arrays."""
        return StateCache(arrays)

    def of(self, prompts: int) -> "StateCache":
        """Repeat the states after the one prompt as the beginning of several."""
        return self.holding([_repeated(array, prompts) for array in self.cache])

    def rows(self, places: mx.array) -> "StateCache":
        """Return the states at these places, [rows]."""
        return self.holding([None if array is None else array[places] for array in self.cache])


class RowsCache:
    """Keys and values of one layer for rows that go on after their prompts, all of them in one call."""

    start_position = 0
    has_gradient = True

    def __init__(self, prompt: PromptCache, layout: PrefixLayout) -> None:
        self.prefix_keys, self.prefix_values, self.window = prompt.keys, prompt.values, prompt.window
        self.layout = layout
        self.keys: mx.array | None = None
        self.values: mx.array | None = None
        self.offset: int | mx.array = layout.row_lengths if layout.ragged else layout.width

    @property
    def arrays(self) -> list[mx.array | None]:
        """Everything that has been computed, in the order that `holding` takes."""
        return [self.prefix_keys, self.prefix_values, self.keys, self.values]

    @arrays.setter
    def arrays(self, arrays: Sequence[mx.array | None]) -> None:
        self.prefix_keys, self.prefix_values, self.keys, self.values = arrays

    def holding(self, arrays: Sequence[mx.array | None]) -> "RowsCache":
        """Return such a cache with these arrays."""
        cache = type(self)(PromptCache(window=self.window), self.layout)
        cache.arrays = list(arrays)
        return cache

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        self.keys, self.values = self.with_own(keys, values)
        return self.keys_and_values()

    def with_own(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return all keys and values of the rows themselves."""
        return keys, values

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """Return what attention is given."""
        assert self.keys is not None and self.values is not None
        return self.keys, self.values

    def maybe_trim_front(self) -> None:
        """Keep all keys: masks hide those of an earlier chunk."""

    def query_positions(self, time: int) -> mx.array:
        """Return absolute positions of the queries, [prompts or 1, samples or 1, time]; 1 where all are alike."""
        offsets = self.layout.by_prompt(self.offset) if isinstance(self.offset, mx.array) else mx.array([[self.offset]])
        return offsets[:, :, None] + mx.arange(time)

    def own_mask(self, time: int, keys: int, window: int | None, begin: int = 0) -> mx.array | None:
        """Return which of the own keys each query from `begin` on sees, for grpo.attention.shared; None = all."""
        if time == 1 and keys == 1:
            return None
        distance = begin + mx.arange(time)[None] - mx.arange(keys)[:, None]
        seen = distance >= 0
        return (seen if window is None else seen & (distance < window))[None, None, :, None]

    def prefix_mask(self, time: int, window: int | None, group: int, begin: int = 0) -> mx.array | None:
        """Return which prompt keys each query from `begin` on sees, for grpo.attention.shared; None = all."""
        columns = mx.arange(self.layout.width)
        seen = None
        if self.layout.ragged:
            seen = (columns[None] < mx.array(self.layout.lengths)[:, None])[:, None, :, None, None]
        if window is not None:
            # [prompts, samples, prompt, time] -> [prompts, 1, prompt, samples x group, time]
            near = begin + self.query_positions(time)[:, :, None] - columns[:, None] < window
            near = near.swapaxes(1, 2)[:, None]
            near = mx.repeat(near, group, axis=3) if near.shape[3] > 1 else near
            seen = near if seen is None else seen & near
        return seen


class CompletionCache(RowsCache):
    """The same with attention of its own: a prompt's keys stand once for all its rows."""

    def make_mask(self, time: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """Return the window alone, which travels through the model; `attend` knows the rest of the mask."""
        window = window_size or self.window
        return ("window", window) if window is not None else None

    def attend(self, queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: Any) -> mx.array:
        """Attention over the prompt and the completion's own keys in one softmax.

        queries [batch, heads, time, dims]; keys, values [batch, kv_heads, own, dims]; returns [batch, heads, time,
        dims], the dims of the values.
        """
        assert self.prefix_keys is not None and self.prefix_values is not None
        if isinstance(mask, mx.array):
            raise NotImplementedError("a mask of the model's own over a shared prompt")
        window = mask[1] if isinstance(mask, tuple) else None
        batch, heads, time, dims = queries.shape
        kv_heads, own = keys.shape[1], keys.shape[2]
        group = heads // kv_heads
        grouped = (queries * scale).reshape(batch, kv_heads, group, time, dims)
        others = self.prefix_keys, self.prefix_values, keys, values
        size = block_size(batch * heads, time, self.layout.width + own)
        if size < time and self.differentiable:
            attended = attention_in_blocks(
                grouped, *others, lambda begin, end: self._sharing((begin, end), end, window, group), size
            )
        else:
            rows = grouped.reshape(batch, kv_heads, -1, dims)
            attended = shared_attention(rows, *others, self._sharing((0, time), own, window, group))
        return attended.reshape(batch, heads, time, -1)

    @property
    def differentiable(self) -> bool:
        """Return whether attention has a gradient of its own here: every slot of the layout then is a row."""
        return self.has_gradient and self.layout.slots is None

    def _sharing(self, span: tuple[int, int], keys: int, window: int | None, group: int) -> Sharing:
        """Return who sees what among the queries of a span and the first `keys` own keys."""
        layout, begin, time = self.layout, span[0], span[1] - span[0]
        return Sharing(
            layout.together,
            layout.apart,
            layout.below,
            layout.back,
            differentiable=self.differentiable,
            time=time,
            prefix_mask=self.prefix_mask(time, window, group, begin),
            own_mask=self.own_mask(time, keys, window, begin),
        )


class RepeatedCache(RowsCache):
    """The same for the model's own attention, which is given a prompt's keys in each of its rows and a whole mask."""

    mask_axes = 4  # of a mask that differs between rows

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        keys, values = super().keys_and_values()
        assert self.prefix_keys is not None and self.prefix_values is not None
        places = self.layout.prompt_of_row
        return (
            mx.concatenate([self.prefix_keys[places], keys], axis=2),
            mx.concatenate([self.prefix_values[places], values], axis=2),
        )

    def make_mask(self, time: int, return_array: bool = False, window_size: int | None = None) -> mx.array:
        """Return which keys each query sees, [batch, 1, (1,) time, keys], or [time, keys] for all rows."""
        window, layout, width = window_size or self.window, self.layout, self.own_width(time)
        parts = []
        for mask, keys in (
            (self.prefix_mask(time, window, 1), layout.width),
            (self.own_mask(time, width, window), width),
        ):
            seen = mx.ones((1, 1, time, keys), mx.bool_)
            if mask is not None:  # [prompts or batch or 1, 1, keys, samples or 1, time or 1]
                turned = mask[:, 0].transpose(0, 2, 3, 1)
                seen = mx.broadcast_to(turned, (*turned.shape[:2], time, keys))
            parts.append(seen)
        prefix, own = parts
        if prefix.shape[0] > 1 or prefix.shape[1] > 1:
            prefix = layout.rows_of(mx.broadcast_to(prefix, (layout.prompts, layout.samples, *prefix.shape[2:])))
        else:
            prefix = prefix[0]
        own = own[:, 0]
        rows = max(prefix.shape[0], own.shape[0])
        whole = mx.concatenate([mx.broadcast_to(part, (rows, *part.shape[1:])) for part in (prefix, own)], axis=-1)
        return whole[0] if rows == 1 else whole[(slice(None), *(None,) * (self.mask_axes - 3))]

    def own_width(self, time: int) -> int:
        """Return the number of own keys when `time` more have come."""
        return time


class GroupedRepeatedCache(RepeatedCache):
    """The same where the model's scores have five axes, those of heads that share keys apart."""

    mask_axes = 5


def _repeated(array: mx.array | None, prompts: int) -> mx.array | None:
    return None if array is None else mx.broadcast_to(array, (prompts, *array.shape[1:]))
