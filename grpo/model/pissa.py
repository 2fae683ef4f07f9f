"""Adapters that start as the principal part of their weights (PiSSA, arXiv 2404.02948).

The frozen weight keeps the rest: W = W' + scale (A0 B0)', so the network begins unchanged and A and B learn along its
largest singular values. An adapter is written as what it changed, scale (A B - A0 B0), which is an ordinary LoRA
adapter of twice the rank on the unchanged weights: [A, A0] and [B; -B0].
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.tuner.lora import LoRALinear

from grpo.config.sections import ConfigError

ROUNDS, SPARE = 4, 8  # of the subspace iteration, and columns it carries besides the rank


def begin(model: nn.Module, seed: int) -> dict[str, mx.array]:
    """Move the principal part of every adapted weight into its adapter; return the adapters' A and B by name.

    ConfigError for a weight that is quantised: what is left of it could not be quantised again without loss.
    """
    start: dict[str, mx.array] = {}
    for name, part in model.named_modules():
        if not isinstance(part, LoRALinear):
            continue
        if type(part.linear) is not nn.Linear:
            raise ConfigError(f"lora.init pissa needs weights that are not quantised, and those of {name} are")
        rank, weight = part.lora_a.shape[1], part.linear.weight.astype(mx.float32)
        a, b = principal(weight, rank, seed)
        part.lora_a, part.lora_b = a / part.scale**0.5, b / part.scale**0.5
        start |= {f"{name}.lora_a": part.lora_a, f"{name}.lora_b": part.lora_b}
        _shift(part, -1.0, part.lora_a, part.lora_b)
        mx.eval(part.parameters())
    return start


def principal(weight: mx.array, rank: int, seed: int) -> tuple[mx.array, mx.array]:
    """Return A [input, rank] and B [rank, output] with A B nearest to the transpose of a weight [output, input].

    A = V sqrt(S), B = sqrt(S) U' of the largest singular values; by subspace iteration (Halko et al., arXiv 0909.4061,
    algorithm 4.4), exact where rank + 8 reaches the smaller side.
    """
    turned = np.array(weight).T.astype(np.float32)  # [input, output]
    width = min(rank + SPARE, *turned.shape)
    basis = turned @ np.random.default_rng(seed).standard_normal((turned.shape[1], width), dtype=np.float32)
    for _ in range(ROUNDS):
        basis = np.linalg.qr(turned @ (turned.T @ np.linalg.qr(basis)[0]))[0]
    left, sizes, right = np.linalg.svd(basis.T @ turned, full_matrices=False)
    roots = np.sqrt(sizes[:rank])
    return mx.array((basis @ left)[:, :rank] * roots), mx.array(roots[:, None] * right[:rank])


def written(weights: dict[str, mx.array], start: dict[str, mx.array]) -> dict[str, mx.array]:
    """Return adapters as what they changed of the unchanged weights."""
    return {name: _beside(name, value, start[name]) for name, value in weights.items()}


def read(weights: dict[str, mx.array], start: dict[str, mx.array]) -> tuple[dict[str, mx.array], dict[str, mx.array]]:
    """Return the adapters of what `written` gave, and their start."""
    now, then = {}, {}
    for name, value in weights.items():
        if name not in start:
            continue
        rank = start[name].shape[1 if name.endswith("lora_a") else 0]
        parts = (value[:, :rank], value[:, rank:]) if name.endswith("lora_a") else (value[:rank], -value[rank:])
        now[name], then[name] = parts
    return now, then


def restart(adapters: dict[str, Any], old: dict[str, mx.array], new: dict[str, mx.array]) -> None:
    """Give the frozen weights back one start and take another, where they differ."""
    for name, part in adapters.items():
        keys = f"{name}.lora_a", f"{name}.lora_b"
        if not all(mx.array_equal(old[key], new[key]).item() for key in keys):
            _shift(part, 1.0, *(old[key] for key in keys))
            _shift(part, -1.0, *(new[key] for key in keys))


def _beside(name: str, value: mx.array, start: mx.array) -> mx.array:
    return mx.concatenate([value, start], axis=1) if name.endswith("lora_a") else mx.concatenate([value, -start])


def _shift(part: Any, sign: float, a: mx.array, b: mx.array) -> None:
    """Add sign * scale (A B)' to the frozen weight."""
    weight = part.linear.weight
    part.linear.weight = (weight.astype(mx.float32) + sign * part.scale * (a @ b).T).astype(weight.dtype)
