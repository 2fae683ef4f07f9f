"""peft's LoraConfig as settings of ours; peft itself is not needed."""

import re
from collections.abc import Mapping
from typing import Any

from grpo.config.sections import ConfigError
from grpo.model.carried import carried_adapters

REFUSED = {"modules_to_save": "modules trained whole", "layers_to_transform": "blocks by number"}


def lora_settings(peft_config: Any) -> dict[str, Any]:
    """`fine_tune` and `lora` of a LoraConfig, or of anything with its names; ConfigError for what differs."""

    def get(name: str, default: Any = None) -> Any:
        value = peft_config.get(name) if isinstance(peft_config, Mapping) else getattr(peft_config, name, None)
        return default if value is None else value

    rank = get("r", get("rank"))
    if rank is None:
        raise ConfigError(f"peft_config must be a LoraConfig, got {type(peft_config).__name__} without r")
    for name, what in REFUSED.items():
        if get(name):
            raise ConfigError(f"peft_config {name}={get(name)!r:.40} has no equivalent here: no {what}")
    if get("bias", "none") != "none":
        raise ConfigError(f"peft_config bias={get('bias')!r} has no equivalent here: biases are not trained")
    alpha, dropout = get("lora_alpha", get("alpha", 8)), get("lora_dropout", get("dropout", 0.0))
    settings = {"rank": rank, "alpha": alpha, "dropout": dropout, "targets": _targets(get)}
    if get("use_rslora"):
        settings["rank_stabilised"] = True
    return {"fine_tune": "dora" if get("use_dora") else "lora", "lora": settings}


def carried_settings(model: Any, peft_config: Any) -> dict[str, Any]:
    """The same of the LoRA layers that a loaded model has already; ConfigError if a peft_config asks for more."""
    carried = carried_adapters(model)
    if carried is None:
        return {}
    if peft_config is not None:
        raise ConfigError("the model carries LoRA layers: training goes on with those, leave peft_config out")
    found = carried["lora_parameters"]
    settings = {
        "rank": found["rank"],
        "alpha": found["scale"] * found["rank"],
        "dropout": found["dropout"],
        "targets": sorted({key.rpartition(".")[2] for key in found["keys"]}),
        "layers": carried["num_layers"],
    }
    return {"fine_tune": "lora", "lora": settings}


def _targets(get: Any) -> Any:
    targets = get("target_modules", get("targets", "all"))
    if targets in ("all-linear", "all"):
        return "all"
    if isinstance(targets, str):
        if not re.fullmatch(r"\w+", targets):
            raise ConfigError(f"peft_config target_modules={targets!r:.60} is a pattern: name the layers in a list")
        return [targets]
    return sorted(targets)
