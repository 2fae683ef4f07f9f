"""The caches of all layers of a network: made for its prompts, turned into those of the rows that follow.

Layers may have a cache of keys and values, one of states, several of them (`CacheList`) or none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import ArraysCache, CacheList, make_prompt_cache

from grpo.attention.caches import PromptCache, RowsCache, StateCache
from grpo.attention.layout import PrefixLayout, pad_rows
from grpo.cpu.lanes import lane, lanes

DIVIDED = 384  # tokens of all prompts from which on they run in two parts; measured with two cores
FIRST_PART = 0.55  # of their columns: the second part has more keys to attend to

Trunk = Callable[[mx.array, list[Any]], mx.array]


def trunk_caches(model: nn.Module) -> list[Any]:
    """Return fresh prompt caches for a network; NotImplementedError for a cache of a kind not known here."""
    return each(_prompt_cache, make_prompt_cache(model))


def _prompt_cache(cache: Any) -> PromptCache | StateCache:
    if isinstance(cache, ArraysCache):
        return StateCache(cache.cache)
    if hasattr(cache, "update_and_fetch"):
        return PromptCache(window=getattr(cache, "max_size", None))
    raise NotImplementedError(f"a cache of the kind {type(cache).__name__}")


def rows_after(caches: Sequence[Any], layout: PrefixLayout, kind: type[RowsCache]) -> list[Any]:
    """Return the caches of rows that go on after these prompts, all tokens of a row in one call."""

    def after(cache: Any) -> Any:
        if isinstance(cache, StateCache):
            return cache.rows(layout.prompt_of_row)
        return kind(cache, layout)

    return each(after, caches)


def each(function: Callable[..., Any], *caches: Sequence[Any]) -> list[Any]:
    """Call the function for every single cache (or the caches at the same place of several networks)."""
    return [
        CacheList(*each(function, *(list_.caches for list_ in same)))
        if isinstance(same[0], CacheList)
        else function(*same)
        for same in zip(*caches, strict=True)
    ]


def singles(caches: Sequence[Any]) -> Iterator[Any]:
    """Yield every single cache."""
    for cache in caches:
        if isinstance(cache, CacheList):
            yield from singles(cache.caches)
        else:
            yield cache


def arrays_of(caches: Sequence[Any]) -> list[mx.array]:
    """Return everything in these caches that may have a gradient, in an order that `holding` takes."""
    return [array for cache in singles(caches) for array in cache.arrays if _is_float(array)]


def holding(caches: Sequence[Any], arrays: Sequence[mx.array]) -> list[Any]:
    """Return the same caches with other arrays."""
    rest = iter(arrays)
    return each(
        lambda cache: cache.holding([next(rest) if _is_float(array) else array for array in cache.arrays]), caches
    )


def marks(caches: Sequence[Any]) -> list[Any]:
    """Return what `rewound` needs to bring later caches back to where these are: lengths, and recurrent states."""
    return [cache if isinstance(cache, StateCache) else cache.offset for cache in singles(caches)]


def rewound(caches: Sequence[Any], marked: Sequence[Any]) -> list[Any]:
    """Return the caches as they were where the marks were made; keys and values are cut, nothing is copied."""
    places = iter(marked)

    def earlier(cache: Any) -> Any:
        mark = next(places)
        return cache.until(mark) if isinstance(cache, PromptCache) else mark

    return each(earlier, caches)


def _is_float(array: mx.array | None) -> bool:
    return array is not None and mx.issubdtype(array.dtype, mx.floating)


def has_states(caches: Sequence[Any]) -> bool:
    """Return whether a layer carries states on, which padding on the right would change."""
    return any(isinstance(cache, StateCache) for cache in singles(caches))


def prompt_parts(prompts: int, time: int) -> int:
    """Return the number of parts, each on a lane, in which these prompts are best run."""
    return lanes() if time > 1 and prompts * time >= DIVIDED else 1


def run_trunk(trunk: Trunk, tokens: mx.array, caches: list[Any], *, parts: int = 1) -> mx.array:
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


def run_apart(
    trunk: Trunk, prompts: Sequence[Sequence[int]], fresh: Callable[[int], list[Any]]
) -> tuple[mx.array, list[Any]]:
    """Run prompts of each length apart, none padded; `fresh(n)` makes the caches of n prompts.

    Returns the hidden state at each prompt's last token, [prompts, hidden], and the caches of all prompts.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        by_length[len(prompt)].append(place)
    last, made = [], []
    for places in by_length.values():
        caches = fresh(len(places))
        last.append(trunk(pad_rows([prompts[place] for place in places]), caches)[:, -1])
        made.append(caches)
    found = [place for places in by_length.values() for place in places]
    if len(made) == 1:
        return last[0], made[0]
    order = mx.array([found.index(place) for place in range(len(prompts))])
    return mx.concatenate(last)[order], each(lambda *same: _ordered(same, order), *made)


def _ordered(same: Sequence[Any], order: mx.array) -> Any:
    """Join one layer's caches of several batches of prompts and put the prompts in order."""
    arrays = zip(*(cache.arrays for cache in same), strict=True)
    return same[0].holding([None if parts[0] is None else stacked(parts)[order] for parts in arrays])


def stacked(parts: Sequence[mx.array]) -> mx.array:
    """Batches after one another; keys and values [prompts, kv_heads, time, dims] of less time are padded behind."""
    if parts[0].ndim == 4 and len({part.shape[2] for part in parts}) > 1:
        width = max(part.shape[2] for part in parts)
        parts = [mx.pad(part, [(0, 0), (0, 0), (0, width - part.shape[2]), (0, 0)]) for part in parts]
    return mx.concatenate(list(parts))
