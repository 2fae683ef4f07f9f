"""Route the attention of mlx_lm's models to ours: the one patch of mlx_lm."""

import math
import sys
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from grpo.attention.blocks import block_size
from grpo.attention.caches import PromptCache
from grpo.attention.causal import causal_attention
from grpo.cpu.exponential import on_cpu, swiglu
from grpo.cpu.fusion import has_gradient


def install_routing(model: nn.Module) -> bool:
    """Make the model's attention modules call their cache's `attend`; return whether all could be patched.

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
        whole = isinstance(mask, str) and (cache is None or type(cache) is PromptCache) and rest.get("sinks") is None
        long = has_gradient() and block_size(math.prod(queries.shape[:2]), *_lengths(queries, keys)) < queries.shape[2]
        if whole and (long or on_cpu(queries)):
            return causal_attention(queries, keys, values, scale, keeps=on_cpu(queries) and not long)
        return plain(queries, keys, values, cache=cache, scale=scale, mask=mask, **rest)

    attention.asks_the_cache = True  # type: ignore[attr-defined]
    return attention


def _lengths(queries: mx.array, keys: mx.array) -> tuple[int, int]:
    return queries.shape[-2], keys.shape[-2]


def _faster(plain: Any) -> Any:
    def gated(gate: mx.array, up: mx.array) -> mx.array:
        return swiglu(gate, up) if on_cpu(gate) else plain(gate, up)

    gated.is_faster = True  # type: ignore[attr-defined]
    return gated
