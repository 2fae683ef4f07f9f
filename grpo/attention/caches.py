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

    def own_mask(self, time: int, keys: int, window: int | None) -> mx.array | None:
        """Return which of the completion's own keys each query sees, for grpo.attention.shared; None = all."""
        if time == 1 and keys == 1:
            return None
        distance = mx.arange(time)[None] - mx.arange(keys)[:, None]
        seen = distance >= 0
        return (seen if window is None else seen & (distance < window))[None, None, :, None]

    def prefix_mask(self, time: int, window: int | None, group: int) -> mx.array | None:
        """Return which prompt keys each query sees, for grpo.attention.shared; None = all."""
        columns = mx.arange(self.layout.width)
        seen = None
        if self.layout.ragged:
            seen = (columns[None] < mx.array(self.layout.lengths)[:, None])[:, None, :, None, None]
        if window is not None:
            # [prompts, samples, prompt, time] -> [prompts, 1, prompt, samples x group, time]
            near = self.query_positions(time)[:, :, None] - columns[:, None] < window
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
        attended = shared_attention(
            (queries * scale).reshape(batch, kv_heads, heads // kv_heads * time, dims),
            self.prefix_keys,
            self.prefix_values,
            keys,
            values,
            Sharing(
                self.layout.together,
                self.layout.apart,
                self.layout.below,
                self.layout.back,
                differentiable=self.has_gradient and self.layout.slots is None,
                time=time,
                prefix_mask=self.prefix_mask(time, window, heads // kv_heads),
                own_mask=self.own_mask(time, own, window),
            ),
        )
        return attended.reshape(batch, heads, time, -1)


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
        window, places = window_size or self.window, self.layout.prompt_of_row
        own_width = self.own_width(time)
        shapes = (self.layout.width, own_width)
        parts = []
        masks = self.prefix_mask(time, window, 1), self.own_mask(time, own_width, window)
        for mask, width, by_prompt in zip(masks, shapes, (True, False), strict=True):
            if mask is None:
                parts.append(mx.ones((1, time, width), mx.bool_))
                continue
            turned = mask[:, 0, :, 0].swapaxes(-1, -2)  # [prompts, batch or 1; time or 1; width]
            turned = mx.broadcast_to(turned, (turned.shape[0], time, width))
            parts.append(turned[places] if by_prompt and turned.shape[0] > 1 else turned)
        rows = max(part.shape[0] for part in parts)
        whole = mx.concatenate([mx.broadcast_to(part, (rows, *part.shape[1:])) for part in parts], axis=-1)
        return whole[0] if rows == 1 else whole[(slice(None), *(None,) * (self.mask_axes - 3))]

    def own_width(self, time: int) -> int:
        """Return the number of own keys when `time` more have come."""
        return time


class GroupedRepeatedCache(RepeatedCache):
    """The same where the model's scores have five axes, those of heads that share keys apart."""

    mask_axes = 5


def _repeated(array: mx.array | None, prompts: int) -> mx.array | None:
    return None if array is None else mx.broadcast_to(array, (prompts, *array.shape[1:]))
