"""One prompt, many completions: the prompt's keys and values are computed once and every completion attends to them.

mlx_lm models hand each layer a cache object and call `scaled_dot_product_attention` of their own module with it. The
caches here carry a prompt's keys and values (with gradient, when the caller is inside one) and bring their own
attention, so any model that follows that protocol shares its prompts without a line of its code being repeated.
`shares_prefixes` asks a loaded model whether it does; where the answer is no, callers carry the prompt in every row.

Axes: prompts, samples, batch (= prompts x samples, a prompt's samples next to each other), heads, time, dims.
"""

import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from grpo.attention import Sharing, shared_attention
from grpo.batching import LANES
from grpo.causal import causal_attention
from grpo.exponential import on_cpu, swiglu
from grpo.lanes import lane, lanes

DIVIDED = 384  # tokens of all prompts from which on they run in two parts; measured with two cores
FIRST_PART = 0.55  # of their columns: the second part has more keys to attend to


@dataclass(frozen=True)
class PrefixLayout:
    """How a batch hangs on its prompts: so many rows each, next to each other; prompts are right-padded."""

    lengths: tuple[int, ...]  # [prompts] tokens
    counts: tuple[int, ...]  # [prompts] rows

    @property
    def prompts(self) -> int:
        return len(self.lengths)

    @property
    def width(self) -> int:
        return max(self.lengths)

    @functools.cached_property
    def samples(self) -> int:
        """Rows of the prompt that has most."""
        return max(self.counts)

    @property
    def ragged(self) -> bool:
        return min(self.lengths) < self.width

    @property
    def by_row(self) -> list[int]:
        """Prompt length of each row."""
        return [n for n, count in zip(self.lengths, self.counts, strict=True) for _ in range(count)]

    @functools.cached_property
    def row_lengths(self) -> mx.array:
        """Prompt length of each row, which is the position of its first completion token; [batch]."""
        return mx.array(self.by_row)

    @functools.cached_property
    def slots(self) -> tuple[mx.array, mx.array] | None:
        """Where prompts have different numbers of rows: the row behind each of prompts x samples slots, and each
        row's slot.

        A slot without a row repeats row 0 and is never read. None where every prompt has the same number of rows.
        """
        if min(self.counts) == self.samples:
            return None
        slot_of_row = [p * self.samples + i for p, count in enumerate(self.counts) for i in range(count)]
        row_of_slot = [0] * (self.prompts * self.samples)
        for row, slot in enumerate(slot_of_row):
            row_of_slot[slot] = row
        return mx.array(row_of_slot), mx.array(slot_of_row)

    @functools.cached_property
    def first_rows(self) -> mx.array:
        """The first row of each prompt, [prompts]."""
        return mx.array(
            [end - count for end, count in zip(itertools.accumulate(self.counts), self.counts, strict=True)]
        )

    def together(self, rows: mx.array) -> mx.array:
        """[batch, heads, n, k] -> [prompts, heads, samples x n, k], all rows of a prompt in one matrix."""
        _, heads, _, k = rows.shape
        return self._by_prompt(rows).swapaxes(1, 2).reshape(self.prompts, heads, -1, k)

    def apart(self, shared: mx.array) -> mx.array:
        """The inverse of `together`."""
        _, heads, _, k = shared.shape
        return self._by_row(shared.reshape(self.prompts, heads, self.samples, -1, k).swapaxes(1, 2))

    def below(self, shared: mx.array, rows: mx.array) -> mx.array:
        """[prompts, heads, m, samples x n] with [batch, heads, n, k] turned below it, [prompts, heads, m + k,
        samples x n].
        """
        prompts, heads, _, n = shared.shape
        turned = self._by_prompt(rows).transpose(0, 2, 4, 1, 3)  # [prompts, heads, k, samples, n]
        above = shared.reshape(prompts, heads, -1, *turned.shape[3:])
        return mx.concatenate([above, turned], axis=2).reshape(prompts, heads, -1, n)

    def back(self, shared: mx.array) -> mx.array:
        """[prompts, heads, k, samples x n] -> [batch, heads, n, k], every row its own."""
        _, heads, k, _ = shared.shape
        return self._by_row(shared.reshape(self.prompts, heads, k, self.samples, -1).transpose(0, 3, 1, 4, 2))

    def _by_prompt(self, rows: mx.array) -> mx.array:
        """[batch, ...] -> [prompts, samples, ...]."""
        if self.slots is not None:
            rows = rows[self.slots[0]]
        return rows.reshape(self.prompts, self.samples, *rows.shape[1:])

    def _by_row(self, slots: mx.array) -> mx.array:
        """The inverse of `_by_prompt`."""
        rows = slots.reshape(self.prompts * self.samples, *slots.shape[2:])
        return rows if self.slots is None else rows[self.slots[1]]

    def keep(self, rows: Sequence[int]) -> tuple["PrefixLayout", list[int]]:
        """The layout of these rows alone (in ascending order), and which prompts are left in it."""
        ends = list(itertools.accumulate(self.counts))
        counts = [sum(end - count <= row < end for row in rows) for end, count in zip(ends, self.counts, strict=True)]
        left = [p for p, count in enumerate(counts) if count]
        return PrefixLayout(tuple(self.lengths[p] for p in left), tuple(counts[p] for p in left)), left


class PromptCache:
    """Cache of one layer during the prompt's pass: keeps what the layer computed, [prompts, kv_heads, time, dims].

    What begins with keys and values goes on after them, as after an earlier part of the prompts.
    """

    def __init__(self, keys: mx.array | None = None, values: mx.array | None = None) -> None:
        self.keys, self.values = keys, values

    def of(self, prompts: int) -> "PromptCache":
        """The one prompt in here as the beginning of so many."""
        assert self.keys is not None and self.values is not None
        return PromptCache(*(mx.broadcast_to(part, (prompts, *part.shape[1:])) for part in (self.keys, self.values)))

    @property
    def offset(self) -> int:
        """Tokens that have run."""
        return 0 if self.keys is None else self.keys.shape[2]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        if self.keys is not None and self.values is not None:
            keys = mx.concatenate([self.keys, keys], axis=2)
            values = mx.concatenate([self.values, values], axis=2)
        self.keys, self.values = keys, values
        return keys, values

    def make_mask(self, time: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """The causal mask alone: what stands after a right-padded prompt is never looked at from inside it."""
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
        """Only the window travels through the model; `attend` knows the rest."""
        return ("window", window_size) if window_size is not None else None

    def query_positions(self, time: int) -> mx.array:
        """Absolute positions of the queries, [prompts or 1, time]; a prompt's rows are all at the same place."""
        if not isinstance(self.offset, mx.array):
            return mx.array([self.offset])[:, None] + mx.arange(time)[None]
        return self.offset[self.layout.first_rows][:, None] + mx.arange(time)[None]

    def own_mask(self, time: int, keys: int, window: int | None) -> mx.array | None:
        """Which of the completion's own keys each query sees, for grpo.attention; None = all."""
        if time == 1 and keys == 1:
            return None
        distance = mx.arange(time)[None] - mx.arange(keys)[:, None]
        seen = distance >= 0
        return (seen if window is None else seen & (distance < window))[None, None, :, None]

    def prefix_mask(self, time: int, window: int | None) -> mx.array | None:
        """Which prompt keys each query sees, for grpo.attention; None = all."""
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
    """A fresh prompt cache for every layer."""
    return [PromptCache() for _ in model.layers]


def prompt_parts(prompts: int, time: int) -> int:
    """In how many parts, each on a lane, so many prompts of so many tokens are best run."""
    return LANES if lanes() == LANES and time > 1 and prompts * time >= DIVIDED else 1


def run_trunk(
    trunk: Callable[[mx.array, list[PromptCache]], mx.array],
    tokens: mx.array,
    caches: list[PromptCache],
    *,
    parts: int = 1,
) -> mx.array:
    """Prompts [prompts, time] after what the caches hold, to hidden states [prompts, time, hidden].

    In two parts the second is a layer behind the first; they are to be evaluated by `grpo.lanes.evaluate`.
    """
    if parts == 1:
        return trunk(tokens, caches)
    cut = round(FIRST_PART * tokens.shape[1])
    with lane(0):
        first = trunk(tokens[:, :cut], caches)
    with lane(1):
        rest = trunk(tokens[:, cut:], caches)
    return mx.concatenate([first, rest], axis=1)


def install_routing(model: nn.Module) -> bool:
    """Let the model's attention ask the cache to attend, once a module; whether every module could be reached.

    On the way the gate of its MLPs and the attention of whole rows are given the CPU's faster exponential.
    """
    modules = {sys.modules[type(part).__module__] for part in model.modules()}
    for module in modules:
        gate = getattr(module, "swiglu", None)
        if gate is not None and not getattr(gate, "is_faster", False):
            module.swiglu = _faster(gate)  # type: ignore[attr-defined]
    found = [module for module in modules if hasattr(module, "scaled_dot_product_attention")]
    for module in found:
        plain = module.scaled_dot_product_attention
        if getattr(plain, "asks_the_cache", False):
            continue
        module.scaled_dot_product_attention = _routed(plain)  # type: ignore[attr-defined]
    return bool(found)


def _routed(plain: Any) -> Any:
    def attention(
        queries: mx.array, keys: mx.array, values: mx.array, cache: Any, scale: float, mask: Any, **rest: Any
    ) -> mx.array:
        if hasattr(cache, "attend"):
            if rest.get("sinks") is not None:
                raise NotImplementedError("attention sinks over a shared prompt")
            return cache.attend(queries, keys, values, scale, mask)
        whole = isinstance(mask, str) and (cache is None or type(cache) is PromptCache)
        if whole and on_cpu(queries) and rest.get("sinks") is None:
            return causal_attention(queries, keys, values, scale)
        return plain(queries, keys, values, cache=cache, scale=scale, mask=mask, **rest)

    attention.asks_the_cache = True  # type: ignore[attr-defined]
    return attention


def _faster(plain: Any) -> Any:
    def gated(gate: mx.array, up: mx.array) -> mx.array:
        return swiglu(gate, up) if on_cpu(gate) else plain(gate, up)

    gated.is_faster = True  # type: ignore[attr-defined]
    return gated


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with in common, one of each row left out."""
    first, last = min(map(tuple, rows)), max(map(tuple, rows))  # in between, all begin like both
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def pad_rows(rows: Sequence[Sequence[int]], *, width: int | None = None, fill: int = 0) -> mx.array:
    """Right-padded token ids, [rows, width]."""
    width = max(map(len, rows)) if width is None else width
    return mx.array([[*row, *[fill] * (width - len(row))] for row in rows])
