"""One prompt, many completions: the prompt's keys and values are computed once and every completion attends to them.

mlx_lm models hand each layer a cache object and call `scaled_dot_product_attention` of their own module with it. The
caches here carry a prompt's keys and values (with gradient, when the caller is inside one) and bring their own
attention, so any model that follows that protocol shares its prompts without a line of its code being repeated.
`shares_prefixes` asks a loaded model whether it does; where the answer is no, callers carry the prompt in every row.

Axes: prompts, samples, batch (= prompts x samples, a prompt's samples next to each other), heads, time, dims.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from grpo.attention.layout import PrefixLayout
from grpo.attention.shared import Sharing, shared_attention
from grpo.cpu.lanes import lane, lanes

DIVIDED = 384  # tokens of all prompts from which on they run in two parts; measured with two cores
FIRST_PART = 0.55  # of their columns: the second part has more keys to attend to


class PromptCache:
    """Cache of one layer during the prompt's pass: keeps what the layer computed, [prompts, kv_heads, time, dims].

    What begins with keys and values goes on after them, as after an earlier part of the prompts.
    """

    def __init__(self, keys: mx.array | None = None, values: mx.array | None = None) -> None:
        self.keys, self.values = keys, values

    def of(self, prompts: int) -> "PromptCache":
        """Repeat the one cached prompt as the beginning of several."""
        assert self.keys is not None and self.values is not None
        return PromptCache(*(mx.broadcast_to(part, (prompts, *part.shape[1:])) for part in (self.keys, self.values)))

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

    def make_mask(self, time: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """Return the causal mask alone: no prompt token attends to the padding on its right."""
        end = self.offset + time
        if return_array or (window_size is not None and end > window_size):
            distance = mx.arange(self.offset, end)[:, None] - mx.arange(end)[None]
            mask = distance >= 0
            return mask & (distance < window_size) if window_size is not None else mask
        return None if time == 1 else "causal"


class CompletionCache:
    """Cache of one layer while completions run after their prompts, all of them in one call (training, scoring)."""

    has_gradient = True

    def __init__(self, prompt: PromptCache, layout: PrefixLayout) -> None:
        assert prompt.keys is not None and prompt.values is not None
        self.prefix_keys, self.prefix_values = prompt.keys, prompt.values
        self.layout = layout
        self.offset: int | mx.array = layout.row_lengths if layout.ragged else layout.width

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        return keys, values

    def make_mask(self, time: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """Return the window alone, which travels through the model; `attend` knows the rest of the mask."""
        return ("window", window_size) if window_size is not None else None

    def query_positions(self, time: int) -> mx.array:
        """Return absolute positions of the queries, [prompts or 1, time]; a prompt's rows share them."""
        if not isinstance(self.offset, mx.array):
            return mx.array([self.offset])[:, None] + mx.arange(time)[None]
        return self.offset[self.layout.first_rows][:, None] + mx.arange(time)[None]

    def own_mask(self, time: int, keys: int, window: int | None) -> mx.array | None:
        """Return which of the completion's own keys each query sees, for grpo.attention.shared; None = all."""
        if time == 1 and keys == 1:
            return None
        distance = mx.arange(time)[None] - mx.arange(keys)[:, None]
        seen = distance >= 0
        return (seen if window is None else seen & (distance < window))[None, None, :, None]

    def prefix_mask(self, time: int, window: int | None) -> mx.array | None:
        """Return which prompt keys each query sees, for grpo.attention.shared; None = all."""
        columns = mx.arange(self.layout.width)
        seen = None
        if self.layout.ragged:
            seen = (columns[None] < mx.array(self.layout.lengths)[:, None])[:, None, :, None, None]
        if window is not None:
            near = (self.query_positions(time)[:, None] - columns[None, :, None] < window)[:, None, :, None]
            seen = near if seen is None else seen & near
        return seen

    def attend(self, queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: Any) -> mx.array:
        """Attention over the prompt and the completion's own keys in one softmax.

        queries [batch, heads, time, dims]; keys, values [batch, kv_heads, own, dims]; returns [batch, heads, time,
        dims].
        """
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
                prefix_mask=self.prefix_mask(time, window),
                own_mask=self.own_mask(time, own, window),
            ),
        )
        return attended.reshape(batch, heads, time, dims)


def trunk_caches(model: nn.Module) -> list[PromptCache]:
    """Return a fresh prompt cache for every layer."""
    return [PromptCache() for _ in model.layers]


def prompt_parts(prompts: int, time: int) -> int:
    """Return the number of parts, each on a lane, in which these prompts are best run."""
    return lanes() if time > 1 and prompts * time >= DIVIDED else 1


def run_trunk(
    trunk: Callable[[mx.array, list[PromptCache]], mx.array],
    tokens: mx.array,
    caches: list[PromptCache],
    *,
    parts: int = 1,
) -> mx.array:
    """Run prompts [prompts, time] after the cached tokens; return hidden states [prompts, time, hidden].

    In two parts the second is a layer behind the first; they are to be evaluated by `grpo.cpu.lanes.evaluate`.
    """
    if parts == 1:
        return trunk(tokens, caches)
    cut = round(FIRST_PART * tokens.shape[1])
    with lane(0):
        first = trunk(tokens[:, :cut], caches)
    with lane(1):
        rest = trunk(tokens[:, cut:], caches)
    return mx.concatenate([first, rest], axis=1)
