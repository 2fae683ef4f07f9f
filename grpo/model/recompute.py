"""Gradient checkpointing: activations inside a block are dropped and recomputed in the backward pass.

mlx_lm's own checkpointing knows no caches with a gradient; here a prompt's keys and values go in and out of each
block as arguments and results, so that their gradient is kept.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from grpo.attention.caches import CompletionCache, PromptCache
from grpo.cpu.fusion import here


def recompute_blocks(model: nn.Module) -> None:
    """Turn checkpointing on for this model; it acts only in training mode."""
    for layer in model.layers:
        layer.recomputes = True
        kind = type(layer)
        if not getattr(kind.__call__, "recomputes_blocks", False):
            kind.__call__ = _recomputing(kind.__call__)


def _recomputing(plain: Any) -> Any:
    def call(layer: nn.Module, x: mx.array, mask: Any = None, cache: Any = None, **rest: Any) -> Any:
        if not (getattr(layer, "recomputes", False) and layer.training):
            return plain(layer, x, mask, cache, **rest)
        if type(cache) is PromptCache:
            output, cache.keys, cache.values = _prompt_block(plain, layer, x, mask, cache, rest)
            return output
        if type(cache) is CompletionCache:
            return _completion_block(plain, layer, x, mask, cache, rest)

        def block(parameters: Any, x: mx.array) -> Any:
            return _with_parameters(layer, parameters, lambda: plain(layer, x, mask, cache, **rest))

        return _recomputed(block, layer.trainable_parameters(), x)

    call.recomputes_blocks = True  # type: ignore[attr-defined]
    return call


def _prompt_block(
    plain: Any, layer: nn.Module, x: mx.array, mask: Any, cache: PromptCache, rest: dict[str, Any]
) -> Any:
    def block(parameters: Any, x: mx.array, *earlier: mx.array) -> Any:
        inner = PromptCache(*earlier)
        output = _with_parameters(layer, parameters, lambda: plain(layer, x, mask, inner, **rest))
        return output, inner.keys, inner.values

    earlier = [] if cache.keys is None or cache.values is None else [cache.keys, cache.values]
    return _recomputed(block, layer.trainable_parameters(), x, *earlier)


def _completion_block(
    plain: Any, layer: nn.Module, x: mx.array, mask: Any, cache: CompletionCache, rest: dict[str, Any]
) -> Any:
    def block(parameters: Any, x: mx.array, keys: mx.array, values: mx.array) -> Any:
        inner = CompletionCache(PromptCache(keys, values), cache.layout)
        return _with_parameters(layer, parameters, lambda: plain(layer, x, mask, inner, **rest))

    return _recomputed(block, layer.trainable_parameters(), x, cache.prefix_keys, cache.prefix_values)


def _recomputed(block: Any, parameters: Any, *inputs: mx.array) -> Any:
    """Return block(parameters, *inputs), recomputed for the gradient once that has arrived.

    mx.checkpoint lets a block be made again as soon as its output is there, so that in a graph with several results
    (the gradient of a prompt's states among them) all blocks could be alive at a time.
    """
    named = dict(tree_flatten(parameters))
    names, leaves = list(named), list(named.values())

    def flat(*arrays: mx.array) -> Any:
        return block(tree_unflatten(list(zip(names, arrays[: len(names)], strict=True))), *arrays[len(names) :])

    run = mx.custom_function(flat)

    @run.vjp
    @here
    def gradient(primals: Any, cotangents: Any, _outputs: Any) -> Any:
        primals = list(primals) if isinstance(primals, tuple | list) else [primals]
        cotangents = list(cotangents) if isinstance(cotangents, tuple | list) else [cotangents]
        after = mx.depends(primals, cotangents)

        def results(*arrays: mx.array) -> list[mx.array]:
            outputs = flat(*arrays)
            return list(outputs) if isinstance(outputs, tuple | list) else [outputs]

        pulled = mx.vjp(results, after, cotangents)[1]
        pulled = mx.depends(pulled, pulled)  # or what makes the later ones would stay until they are asked for
        return tuple(pulled) if len(pulled) > 1 else pulled[0]

    return run(*leaves, *inputs)


def _with_parameters(layer: nn.Module, parameters: Any, run: Any) -> Any:
    """Run the block with these arrays in place of its own; what is closed over gets no gradient."""
    kept = layer.trainable_parameters()
    layer.update(parameters)
    result = run()
    layer.update(kept)
    return result
