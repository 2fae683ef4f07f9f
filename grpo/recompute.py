"""Gradient checkpointing of a network's blocks: activations inside a block are dropped and made again in the backward
pass.

mlx_lm's own checkpointing knows no caches with a gradient; here a prompt's keys and values go in and out of each
block as arguments and results, so that their gradient is kept.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from grpo.prefix import CompletionCache, PromptCache


def recompute_blocks(model: nn.Module) -> None:
    """Turn it on for this model; it acts only in training mode."""
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
            output, cache.keys, cache.values = _prompt_block(plain, layer, x, mask, rest)
            return output
        if type(cache) is CompletionCache:
            return _completion_block(plain, layer, x, mask, cache, rest)

        def block(parameters: Any, x: mx.array) -> Any:
            return _with_parameters(layer, parameters, lambda: plain(layer, x, mask, cache, **rest))

        return mx.checkpoint(block)(layer.trainable_parameters(), x)

    call.recomputes_blocks = True  # type: ignore[attr-defined]
    return call


def _prompt_block(plain: Any, layer: nn.Module, x: mx.array, mask: Any, rest: dict[str, Any]) -> Any:
    def block(parameters: Any, x: mx.array) -> Any:
        inner = PromptCache()
        output = _with_parameters(layer, parameters, lambda: plain(layer, x, mask, inner, **rest))
        return output, inner.keys, inner.values

    return mx.checkpoint(block)(layer.trainable_parameters(), x)


def _completion_block(
    plain: Any, layer: nn.Module, x: mx.array, mask: Any, cache: CompletionCache, rest: dict[str, Any]
) -> Any:
    def block(parameters: Any, x: mx.array, keys: mx.array, values: mx.array) -> Any:
        inner = CompletionCache(PromptCache(keys, values), cache.layout)
        return _with_parameters(layer, parameters, lambda: plain(layer, x, mask, inner, **rest))

    return mx.checkpoint(block)(layer.trainable_parameters(), x, cache.prefix_keys, cache.prefix_values)


def _with_parameters(layer: nn.Module, parameters: Any, run: Any) -> Any:
    """Run the block with these arrays in place of its own; mx.checkpoint sees no gradient of what is closed over."""
    kept = layer.trainable_parameters()
    layer.update(parameters)
    result = run()
    layer.update(kept)
    return result
