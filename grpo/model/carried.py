"""LoRA layers that a loaded model already carries: training continues on them."""

from typing import Any

import mlx.nn as nn
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

from grpo.config.sections import ConfigError

OTHERS = (DoRALinear, DoRAEmbedding, LoRAEmbedding, LoRASwitchLinear)
ADVICE = "load the bare model and give adapter=DIR, or fuse it (mlx_lm.fuse)"


def carried_adapters(model: nn.Module) -> dict[str, Any] | None:
    """The settings of the LoRA layers in a model, as adapter_config.json has them; None if it has none.

    ConfigError for adapters that no such file describes: of other kinds, of several ranks, or not the same in all
    blocks from one on.
    """
    found = {name: part for name, part in model.named_modules() if isinstance(part, (LoRALinear, *OTHERS))}
    if not found:
        return None
    others = sorted({type(part).__name__ for part in found.values() if isinstance(part, OTHERS)})
    if others:
        raise ConfigError(f"the model carries {', '.join(others)} layers, which can't be trained further: {ADVICE}")
    kinds = {(part.lora_a.shape[-1], float(part.scale), 1 - float(part.dropout._p_1)) for part in found.values()}
    if len(kinds) > 1:
        raise ConfigError(f"the model carries LoRA layers of {len(kinds)} ranks, scales or dropouts: {ADVICE}")
    keys = _keys_by_block(model)
    adapted = [place for place, names in enumerate(keys) if names]
    whole = adapted and adapted == list(range(adapted[0], len(keys))) and len({*map(tuple, keys[adapted[0] :])}) == 1
    if not whole or sum(len(names) for names in keys) != len(found):
        raise ConfigError(f"the model carries LoRA layers that differ from block to block: {ADVICE}")
    ((rank, scale, dropout),) = kinds
    parameters = {"rank": rank, "scale": scale, "dropout": round(dropout, 6), "keys": keys[-1]}
    return {"num_layers": len(keys) - adapted[0], "lora_parameters": parameters}


def train_carried(model: nn.Module) -> None:
    """Unfreeze the LoRA layers of a frozen model."""
    for part in model.modules():
        if isinstance(part, LoRALinear):
            part.unfreeze(keys=["lora_a", "lora_b"], recurse=False)


def _keys_by_block(model: nn.Module) -> list[list[str]]:
    return [
        sorted(name for name, part in layer.named_modules() if isinstance(part, LoRALinear)) for layer in model.layers
    ]
