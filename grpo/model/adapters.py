"""LoRA layers that multiply by one matrix: base weight and adapter added up once, for all tokens until one changes."""

from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner.lora import LoRALinear, LoRASwitchLinear

from grpo.cpu.blas import load_blas
from grpo.cpu.fusion import here


@dataclass(frozen=True)
class _Sum:
    """W' + scale A B, and the A and B of it; an object, as mlx would take arrays for parameters."""

    weight: mx.array  # [input, output], in memory the way round in which few rows are multiplied by it fastest
    a: mx.array
    b: mx.array
    bias: mx.array | None  # [output]


class MergingLoRA(LoRALinear):
    """A LoRALinear that uses W + scale (A B)' after `merge`, in the forward pass and for the gradient of its input.

    Only the gradients of A and B still take the products through the rank. Dropout acts on the adapter's input alone:
    with it a merged layer computes the two paths apart in training, as LoRALinear does.
    """

    def merge(self) -> None:
        """Use the sum from now on; it is formed again if it is not that of the adapter as it is."""
        kept: _Sum | None = getattr(self, "kept", None)
        if kept is None or kept.a is not self.lora_a or kept.b is not self.lora_b:
            weight = self.linear.weight
            a, b = self.lora_a, self.scale * self.lora_b
            added = mx.addmm(weight, b.T, a.T).T if load_blas().few_rows else mx.addmm(weight.T, a, b)
            kept = _Sum(added.astype(weight.dtype), self.lora_a, self.lora_b, self.linear.get("bias"))
        self.kept: _Sum | None = kept
        self.sum: _Sum | None = kept

    def unmerge(self, *, keep: bool = False) -> None:
        """Use it no longer; `keep` it for the next `merge`."""
        self.sum = None
        if not keep:
            self.kept = None

    @property
    def has_dropout(self) -> bool:
        return bool(self.dropout._p_1 < 1)

    def __call__(self, x: mx.array) -> mx.array:
        merged: _Sum | None = getattr(self, "sum", None)
        if merged is None or (self.training and self.has_dropout):
            return cast(mx.array, super().__call__(x))
        product = (
            _adapted(self.scale, merged.weight)(x, self.lora_a, self.lora_b) if self.training else x @ merged.weight
        )
        return product if merged.bias is None else product + merged.bias


def _adapted(scale: float, weight: mx.array) -> Any:
    """(x, a, b) -> x @ weight, weight standing for W' + scale a b: the gradients are those of x @ W' + scale x a b.

    x: [..., input]. a: [input, rank]. b: [rank, output]. weight: [input, output], frozen.
    """

    @mx.custom_function
    def product(x: mx.array, a: mx.array, b: mx.array) -> mx.array:
        return x @ weight

    @product.vjp
    @here
    def gradient(primals: tuple[mx.array, ...], cotangent: mx.array, _output: mx.array) -> tuple[mx.array, ...]:
        x, a, b = primals
        rows, pulled = x.reshape(-1, x.shape[-1]), cotangent.reshape(-1, cotangent.shape[-1])
        by_a = rows.T @ (pulled @ (scale * b).T)
        by_b = (rows @ (scale * a)).T @ pulled
        gradients = [cotangent @ weight.T, by_a.astype(a.dtype), by_b.astype(b.dtype)]
        return tuple(mx.depends(gradients, gradients))  # all at once, or x would stay until the adapter's are asked for

    return product


def install(model: nn.Module) -> dict[str, LoRALinear | LoRASwitchLinear]:
    """Return all LoRA layers by name; those on plain weights can merge from now on.

    A quantised weight keeps its adapter beside it: adding and rounding again would make another policy. So do experts:
    copies of all of them would double the model.
    """
    kinds = LoRALinear | LoRASwitchLinear
    adapters: dict[str, Any] = {name: part for name, part in model.named_modules() if isinstance(part, kinds)}
    for part in adapters.values():
        if type(part) is LoRALinear and type(part.linear) is nn.Linear:
            part.__class__ = MergingLoRA
    return adapters
