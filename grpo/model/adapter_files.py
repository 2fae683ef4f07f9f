"""Adapters on disk: mlx_lm's directories, and those of Hugging Face's PEFT in both directions.

The two differ in names (`lora_a` against `base_model.model.*.lora_A.weight`), in the order of the axes (mlx_lm keeps A
as [input, rank] and B as [rank, output], PEFT their transposes) and in the scale, which mlx_lm writes down and PEFT
computes: alpha / rank, or alpha / sqrt(rank) with `use_rslora`.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from grpo.config.sections import ConfigError
from grpo.model.policy import ADAPTER_CONFIG, ADAPTER_FILE

PEFT_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
TENSOR = re.compile(r"(?:base_model\.model\.)?(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)(?:\.weight)?")
BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+)$")
LEAVES = {"lora_A.weight": "lora_a", "lora_B.weight": "lora_b", "lora_magnitude_vector": "m"}
PEFT_KEYS: dict[
    str, Any
] = {  # what of a PEFT config changes the result and has no counterpart in mlx_lm: value that does nothing
    "alpha_pattern": {},
    "rank_pattern": {},
    "bias": "none",
    "modules_to_save": None,
    "trainable_token_indices": None,
    "target_parameters": None,
}


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter as mlx_lm describes it."""

    kind: Literal["lora", "dora", "full"]
    num_layers: int  # the last blocks of the model
    parameters: dict[str, Any]  # rank, scale, dropout, keys (names within a block); {} for full
    weights: dict[str, mx.array]

    @property
    def settings(self) -> dict[str, Any]:
        """Return the entries of adapter_config.json besides the kind."""
        return {"num_layers": self.num_layers, "lora_parameters": self.parameters}


def files_of(folder: str | Path) -> list[Path]:
    """Return the two files of an adapter, weights first; ConfigError, one line, where they are not."""
    place = Path(folder)
    weights = next((place / name for name in (ADAPTER_FILE, PEFT_FILE) if (place / name).exists()), None)
    if weights is None:
        raise ConfigError(f"adapter {folder}: neither {ADAPTER_FILE} nor PEFT's {PEFT_FILE} is there")
    if not (place / ADAPTER_CONFIG).exists():
        raise ConfigError(f"adapter {folder}: no {ADAPTER_CONFIG} there")
    return [weights, place / ADAPTER_CONFIG]


def read(folder: str | Path, *, layers: int) -> AdapterFiles:
    """Read a directory of either kind; `layers` is the number of the model's blocks.

    Raises ConfigError, one line, where there is none or where it can't be read or expressed.
    """
    place = Path(folder)
    try:
        config = json.loads((place / ADAPTER_CONFIG).read_text())
        if "peft_type" in config:
            return _from_peft(place, config, layers)
        weights = cast("dict[str, mx.array]", mx.load(str(place / ADAPTER_FILE)))
        kind, parameters = config.get("fine_tune_type", "lora"), config.get("lora_parameters") or {}
        if kind not in ("lora", "dora", "full"):
            raise ValueError(f"its fine_tune_type is {kind}")
        if kind != "full" and "scale" not in parameters:
            raise ValueError(f"{ADAPTER_CONFIG} gives no scale")
        return AdapterFiles(kind, config["num_layers"], parameters, weights)
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = f"{ADAPTER_CONFIG} has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ConfigError(f"adapter {folder} can't be read: {reason[:300]}") from error


def attach(model: nn.Module, folder: str | Path) -> AdapterFiles:
    """Put an adapter on a model without one, or take over all weights of a fully trained one.

    Raises ConfigError, one line, if it is not this model's: a tensor too many, one missing, another shape.
    """
    adapter = read(folder, layers=len(model.layers))
    if adapter.kind != "full":
        try:
            linear_to_lora_layers(model, adapter.num_layers, adapter.parameters, use_dora=adapter.kind == "dora")
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"adapter {folder} does not fit this model: {' '.join(str(error).split())}") from error
    there = {
        name: leaf
        for name, leaf in cast("list[tuple[str, mx.array]]", tree_flatten(model.parameters()))
        if adapter.kind == "full" or name.rsplit(".", 1)[-1] in LEAVES.values()
    }
    faults = [
        *(f"no layer of the model takes {name}" for name in adapter.weights.keys() - there.keys()),
        *(f"it lacks {name}" for name in there.keys() - adapter.weights.keys() if adapter.kind != "full"),
        *(
            f"{name} is {adapter.weights[name].shape}, the model's is {leaf.shape}"
            for name, leaf in there.items()
            if name in adapter.weights and adapter.weights[name].shape != leaf.shape
        ),
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ConfigError(f"adapter {folder} does not fit this model: {min(faults)}{more}")
    model.load_weights(list(adapter.weights.items()), strict=False)
    return adapter


def write_peft(adapter: AdapterFiles, folder: Path, base: str, *, short_names: bool = False) -> None:
    """Write it as PEFT reads it, for the base model `base`; ConfigError for what is no LoRA or DoRA adapter.

    With `short_names` the config names layers by their last names, which vLLM and SGLang need, and not by block: PEFT
    itself would put empty adapters on the other blocks.
    """
    if adapter.kind not in ("lora", "dora"):
        raise ConfigError(f"PEFT holds lora and dora adapters, not one of type {adapter.kind}")
    backwards = {leaf: name for name, leaf in LEAVES.items()}
    weights = {}
    for name, value in adapter.weights.items():
        module, leaf = name.rsplit(".", 1)
        if value.ndim > 2:
            raise ConfigError(f"PEFT has no adapters on routed experts, as {module} has one")
        weights[f"{PREFIX}{module}.{backwards[leaf]}"] = mx.contiguous(value.T)
    rank = int(adapter.parameters["rank"])
    modules = {name.removeprefix(PREFIX).rsplit(".lora_", 1)[0] for name in weights}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": adapter.parameters["scale"] * rank,
        "lora_dropout": adapter.parameters.get("dropout", 0.0),
        "use_dora": adapter.kind == "dora",
        "use_rslora": False,
        "target_modules": sorted({name.rpartition(".")[2] for name in modules} if short_names else modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    mx.save_safetensors(str(folder / PEFT_FILE), weights, metadata={"format": "pt"})
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=1))


def _from_peft(place: Path, config: dict[str, Any], layers: int) -> AdapterFiles:
    if config["peft_type"] != "LORA":
        raise ConfigError(f"adapter {place} is of PEFT's type {config['peft_type']}: only LORA can be read")
    for key, nothing in PEFT_KEYS.items():
        if config.get(key, nothing) not in (nothing, None, [], {}):
            raise ConfigError(f"adapter {place}: its {key} ({config[key]}) can't be expressed in mlx_lm's adapters")
    if not (place / PEFT_FILE).exists() and (place / "adapter_model.bin").exists():
        raise ConfigError(f"adapter {place} is a pickle: save it again with safe_serialization=True")
    weights, places = {}, set()
    for name, value in cast("dict[str, mx.array]", mx.load(str(place / PEFT_FILE))).items():
        found = TENSOR.fullmatch(name)
        if not found:
            raise ConfigError(f"adapter {place}: {name} is no LoRA tensor of a linear layer")
        weights[f"{found[1]}.{LEAVES[found[2]]}"] = mx.contiguous(value.T)
        places.add(found[1])
    blocks = [BLOCK.search(module) for module in sorted(places)]
    numbers = {int(block[1]) for block in blocks if block}
    outside = [module for module, block in zip(sorted(places), blocks, strict=True) if not block]
    if not numbers or numbers != set(range(min(numbers), layers)):
        raise ConfigError(
            f"adapter {place} is on blocks {sorted(numbers)} of {layers}: mlx_lm's adapters are on the last ones"
        )
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    parameters = {
        "rank": rank,
        "scale": alpha / (math.sqrt(rank) if config.get("use_rslora") else rank),
        "dropout": float(config.get("lora_dropout") or 0.0),
        "keys": sorted({block[2] for block in blocks if block} | set(outside)),
    }
    kind: Literal["lora", "dora"] = "dora" if config.get("use_dora") else "lora"
    return AdapterFiles(kind, layers - min(numbers), parameters, weights)
