"""Gradient checkpointing: activations inside a block are dropped and recomputed in the backward pass.

mlx_lm's own checkpointing knows no caches with a gradient; here everything a block is given and all that its caches
hold go in and out of it as arguments and results, so that their gradient is kept.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from mlx_lm.models.cache import CacheList

from grpo.attention.caches import PromptCache, RowsCache, StateCache
from grpo.attention.trunk import singles
from grpo.cpu.fusion import here
from grpo.model.experts import current, listening

Arrays = Sequence[mx.array | None]


def recompute_blocks(model: nn.Module) -> None:
    """Turn checkpointing on for this model; it acts only in training mode."""
    for layer in model.layers:
        layer.recomputes = True
        kind = type(layer)
        if not getattr(kind.__call__, "recomputes_blocks", False):
            kind.__call__ = _recomputing(kind.__call__)


def _recomputing(plain: Any) -> Any:
    def call(layer: nn.Module, *given: Any, **named: Any) -> Any:
        if not (getattr(layer, "recomputes", False) and layer.training):
            return plain(layer, *given, **named)
        return _block(plain, layer, [list(given), named])

    call.recomputes_blocks = True  # type: ignore[attr-defined]
    return call


def _block(plain: Any, layer: nn.Module, given: list[Any]) -> Any:
    """Call the block as a recomputed function of its parameters, all arrays it is given and what its caches hold."""
    caches = list(_caches(given))
    before = [list(cache.arrays) for cache in caches]
    parameters = dict(tree_flatten(layer.trainable_parameters()))
    dropped = _random_key() if _has_dropout(layer) else None
    ear = current()
    shape: list[Any] = []  # the block's output and what its caches then hold, arrays of one run

    def run(*arrays: mx.array) -> tuple[mx.array, ...]:
        if dropped is not None:
            mx.random.seed(dropped)  # the same again when it is recomputed
        rest = iter(arrays)
        kept = layer.trainable_parameters()
        layer.update(tree_unflatten([(name, next(rest)) for name in parameters]))
        args, named = tree_map(lambda leaf: next(rest) if _is_float(leaf) else leaf, given, is_leaf=_is_cache)
        for cache, held in zip(caches, before, strict=True):
            cache.arrays = _filled(held, rest)
        with listening(ear):  # what recomputes it later may be another thread
            output = plain(layer, *args, **named)
        shape[:] = output, [list(cache.arrays) for cache in caches]
        for cache, held in zip(caches, before, strict=True):
            cache.arrays = held
        layer.update(kept)
        return distinct(_floats(shape), arrays)

    results = iter(recomputed(run, *parameters.values(), *_floats(given), *_floats(before)))
    output, after = tree_map(lambda leaf: next(results) if _is_float(leaf) else leaf, shape)
    for cache, held in zip(caches, after, strict=True):
        cache.arrays = held
    return output


def recomputed(run: Callable[..., Sequence[mx.array]], *inputs: mx.array) -> tuple[mx.array, ...]:
    """Return run(*inputs), recomputed for the gradient once that has arrived.

    mx.checkpoint lets a block be made again as soon as its output is there, so that in a graph with several results
    (the gradient of a prompt's states among them) all blocks could be alive at a time.
    """
    function = mx.custom_function(lambda *arrays: tuple(run(*arrays)))

    @function.vjp
    @here
    def gradient(primals: Any, cotangents: Any, _outputs: Any) -> Any:
        primals = list(primals) if isinstance(primals, tuple | list) else [primals]
        cotangents = list(cotangents) if isinstance(cotangents, tuple | list) else [cotangents]
        pulled = mx.vjp(lambda *arrays: list(run(*arrays)), mx.depends(primals, cotangents), cotangents)[1]
        pulled = mx.depends(pulled, pulled)  # or what makes the later ones would stay until they are asked for
        return tuple(pulled) if len(pulled) > 1 else pulled[0]

    return cast("tuple[mx.array, ...]", function(*inputs))


def distinct(outputs: Sequence[mx.array], inputs: Sequence[mx.array]) -> tuple[mx.array, ...]:
    """Copy what is an input or another output as well: MLX keeps one gradient for each array."""
    known, distinct = {id(array) for array in inputs}, []
    for output in outputs:
        distinct.append(output + 0 if id(output) in known else output)
        known.add(id(output))
    return tuple(distinct)


def _has_dropout(layer: nn.Module) -> bool:
    return any(isinstance(part, nn.Dropout) and part._p_1 < 1 for part in layer.modules())


def _random_key() -> int:
    high, low = cast("list[int]", mx.random.state[0].tolist())  # type: ignore[index]
    return (high << 32) + low


def _caches(tree: Any) -> Iterator[Any]:
    """Yield the caches of this package among what a block is given."""
    if isinstance(tree, dict | list | tuple):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _caches(part)
    elif isinstance(tree, CacheList):
        yield from _caches(list(singles([tree])))
    elif isinstance(tree, PromptCache | RowsCache | StateCache):
        yield tree


def _is_cache(leaf: Any) -> bool:
    return isinstance(leaf, CacheList | PromptCache | RowsCache | StateCache)


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, mx.array) and mx.issubdtype(leaf.dtype, mx.floating)


def _floats(tree: Any) -> list[mx.array]:
    return [leaf for _, leaf in cast("Any", tree_flatten(tree, is_leaf=_is_cache)) if _is_float(leaf)]


def _filled(held: Arrays, rest: Iterator[mx.array]) -> list[mx.array | None]:
    return [next(rest) if _is_float(array) else array for array in held]
