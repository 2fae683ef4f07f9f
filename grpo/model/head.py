"""The projection to the vocabulary: found in a network, whole or a block of the vocabulary at a time."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

IN_BLOCKS = (nn.Linear, nn.Embedding, nn.QuantizedLinear, nn.QuantizedEmbedding)  # a row of every array is a token's


@dataclass(frozen=True)
class FrozenHead:
    """A projection to the vocabulary that is not trained and can be had for a part of it."""

    size: int  # of the vocabulary
    project: Callable[[mx.array, slice], mx.array]  # hidden [m, hidden], ids -> logits [m, ids]
    rows: Callable[[mx.array], mx.array]  # ids [m] -> d logit of each / d hidden, [m, hidden]


class Head:
    """The projection and the module that owns its weights, which may be the embedding (`tied`)."""

    def __init__(self, module: nn.Module, tied: bool) -> None:
        self.module, self.tied = module, tied

    def __call__(self, hidden: mx.array) -> mx.array:
        return self._of(self.module, hidden)

    def frozen(self) -> FrozenHead | None:
        """For grpo.logprobs; None where it is trained or of a kind not known here."""
        if type(self.module) not in IN_BLOCKS or self.module.trainable_parameters():
            return None
        return FrozenHead(self.module.weight.shape[0], self._block, self._rows)

    def _of(self, module: Any, hidden: mx.array) -> mx.array:
        return module.as_linear(hidden) if self.tied else module(hidden)

    def _block(self, hidden: mx.array, ids: slice) -> mx.array:
        return self._of(_part(self.module, ids), hidden)

    def _rows(self, ids: mx.array) -> mx.array:
        part: Any = _part(self.module, ids)
        if "scales" not in part:
            return part.weight
        return mx.dequantize(
            part.weight, part.scales, part.get("biases"), group_size=part.group_size, bits=part.bits, mode=part.mode
        )


def find_head(model: nn.Module) -> tuple[Any, Head | None]:
    """Return the trunk and the head, if projecting the trunk's output really gives the model's logits.

    Otherwise return the model itself and None.
    """
    trunk = getattr(model, "model", None)
    tied = "lm_head" not in model
    module = getattr(trunk, "embed_tokens", None) if tied else model.lm_head
    if not callable(trunk) or module is None:
        return model, None
    head = Head(module, tied)
    probe = mx.array([[1, 2, 3, 4]])
    try:
        same = close(head(trunk(probe)), model(probe))
    except (TypeError, ValueError, AttributeError):
        same = False
    return (trunk, head) if same else (model, None)


def close(first: mx.array, second: mx.array) -> bool:
    """Return whether two ways through a network agree up to rounding."""
    tolerance = 1e-3 if second.dtype == mx.float32 else 5e-2
    scale = mx.abs(second).max()
    return bool((mx.abs(first - second).max() <= tolerance * scale + 1e-6).item())


def _part(module: nn.Module, ids: slice | mx.array) -> nn.Module:
    """The same projection to these ids alone."""
    part = copy.copy(module)
    part.update({name: array[ids] for name, array in module.parameters().items()})
    return part
