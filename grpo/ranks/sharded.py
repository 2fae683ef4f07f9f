"""A model that no rank holds whole (tensor parallel): mlx_lm cuts its layers, here they get adapters.

Every rank runs the same rows through its part of each layer, and collectives inside the layers put the parts together.
A and B of an adapter are whole on every rank, so that optimizer, checkpoints and exports are those of one process; a
rank computes with the part that its shard needs. The gradients it finds for A and B are its share of a sum:
`Ranks.add` gives the whole, as it does where ranks learn from different rows.
"""

import inspect
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.nn.layers.distributed import (
    AllToShardedLinear,
    QuantizedAllToShardedLinear,
    QuantizedShardedToAllLinear,
    ShardedToAllLinear,
    sum_gradients,
)
from mlx_lm.tuner.lora import LoRALinear

from grpo.config.sections import ConfigError

TO_SHARDED = (AllToShardedLinear, QuantizedAllToShardedLinear)
TO_ALL = (ShardedToAllLinear, QuantizedShardedToAllLinear)
SHARDED = TO_SHARDED + TO_ALL  # what can have an adapter: layers that are whole on every rank stay as they are


def load_sharded(path: str) -> tuple[nn.Module, Any]:
    """Return this rank's part of a model, and its tokenizer; ConfigError if mlx_lm can't cut this architecture."""
    from mlx_lm.utils import sharded_load

    group = mx.distributed.init()
    try:
        model, tokenizer = sharded_load(path, None, group)[:2]
    except ValueError as error:
        raise ConfigError(f"tensor_parallel: {path} can't be cut for {group.size()} processes: {error}") from error
    if "segments" in inspect.getsource(type(model).shard):
        raise ConfigError(
            f"tensor_parallel: {type(model).__module__.rpartition('.')[2]} cuts layers of several matrices, of which "
            "an adapter can't tell the parts: use several processes that hold the whole model"
        )
    for part in model.modules():
        if isinstance(part, SHARDED):
            part.__class__ = _adaptable(type(part))
    return model, tokenizer


class ShardedLoRA(LoRALinear):
    """An adapter beside a sharded layer.

    output sharded: y_r = x W_r' + scale (x A) B[:, r]
    input sharded: y = sum_r x_r W_r' + scale (sum_r x_r A[r]) B
    """

    def __call__(self, x: mx.array) -> mx.array:
        layer = self.linear
        group = layer.group
        if isinstance(layer, TO_SHARDED):
            own = _own(self.lora_b.shape[1], group)
            z = sum_gradients(group)(x @ _share(group)(self.lora_a)) @ self.lora_b[:, own]
        else:
            own = _own(self.lora_a.shape[0], group)
            z = mx.distributed.all_sum(x @ self.lora_a[own], group=group) @ _share(group)(self.lora_b)
        return layer(x) + (self.scale * z).astype(x.dtype)


def _own(dims: int, group: Any) -> slice:
    """Return this rank's part of a dimension."""
    width = dims // group.size()
    return slice(group.rank() * width, (group.rank() + 1) * width)


@lru_cache
def _share(group: Any) -> Any:
    """Return the identity whose gradient is divided by the ranks: every rank finds the whole, and they are added up."""

    @mx.custom_function
    def same(x: mx.array) -> mx.array:
        return x

    @same.vjp
    def share(_x: mx.array, pulled: mx.array, _output: mx.array) -> mx.array:
        return pulled / group.size()

    return same


@lru_cache
def _adaptable(kind: type) -> type:
    """Return the class of a sharded layer with the method that mlx_lm asks for when it adds adapters."""

    def to_lora(self: Any, r: int, scale: float, dropout: float) -> ShardedLoRA:
        outputs, inputs = self.weight.shape
        inputs = inputs * 32 // self.bits if "scales" in self else inputs
        ranks = self.group.size()
        whole = (inputs, outputs * ranks) if isinstance(self, TO_SHARDED) else (inputs * ranks, outputs)
        adapter = ShardedLoRA(*whole, r=r, dropout=dropout, scale=scale)
        adapter.linear = self
        return adapter

    return type(kind.__name__, (kind,), {"to_lora": to_lora})
