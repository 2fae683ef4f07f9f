"""Load a network and make it a policy."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner.utils import linear_to_lora_layers

from grpo.config.sections import ConfigError, LoRA, ModelSettings
from grpo.cpu.blas import load_blas
from grpo.cpu.switch import serves
from grpo.model import pissa
from grpo.model.adapter_files import AdapterFiles, attach
from grpo.model.carried import carried_adapters, train_carried
from grpo.model.files import load_files
from grpo.model.mending import mend
from grpo.model.policy import Policy, _on_cpu
from grpo.model.recompute import recompute_blocks
from grpo.model.targets import adapted_names
from grpo.ranks import here
from grpo.ranks.sharded import load_sharded

TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tokenization_*.py")


def load_policy(config: ModelSettings, model_path: str) -> Policy:
    """The policy a config describes, from a local directory or the hub.

    Raises ConfigError, one line, if there is no such model, it can't be read, or it can't be trained as asked.
    """
    return adapt(config, *_load(config, model_path), name=model_path)


def adapt(config: ModelSettings, model: nn.Module, tokenizer: Any, *, name: str) -> Policy:
    """The policy made of a loaded network: converted, frozen, given what is trained; ConfigError if that can't be.

    fine_tune none trains nothing: a teacher.
    """
    mend(model)
    on_cpu = _on_cpu()
    dtype = {
        "auto": mx.float32 if on_cpu else None,
        "float32": mx.float32,
        "bfloat16": mx.bfloat16,
        "float16": mx.float16,
    }[config.dtype]
    if dtype is not None:
        model.set_dtype(dtype)
    model.freeze()
    quantised = any(isinstance(part, nn.QuantizedLinear) for part in model.modules())
    settings: dict[str, Any] | None = carried_adapters(model)
    pissa_start: dict[str, mx.array] | None = None
    kind: str = config.fine_tune
    if settings is not None and config.fine_tune != "none":
        if config.fine_tune != "lora" or config.adapter is not None:
            raise ConfigError(
                f"{name} carries LoRA layers: train those (fine_tune: lora, no adapter), or fuse them first"
            )
        train_carried(model)
    elif config.fine_tune == "full":
        if quantised:
            raise ConfigError(f"{name} is quantised: its weights can't be trained, use fine_tune: lora")
        _unfreeze(model, config.full_layers)
    elif config.adapter is not None:
        start = _load_start_adapter(model, config.adapter, config.lora)
        settings, kind = start.settings, start.kind
    elif config.fine_tune != "none":
        settings = _add_adapters(model, config.lora, config.seed, dora=config.fine_tune == "dora")
        if config.lora.init == "pissa":
            if config.fine_tune == "dora":
                raise ConfigError(
                    "lora.init pissa needs fine_tune: lora, got dora: its magnitudes are of whole weights"
                )
            pissa_start = pissa.begin(model, config.seed)
    if config.gradient_checkpointing is True:
        recompute_blocks(model)
    mx.eval(model.parameters())
    if serves() and not load_blas().few_rows:
        _turn_frozen_weights(model)
    return Policy(model, tokenizer, adapter_settings=settings, fine_tune=kind, pissa_start=pissa_start)


def has_tokenizer(folder: Path) -> bool:
    """Return whether a model directory holds a tokenizer, in one of the forms that transformers reads."""
    return any(next(folder.glob(pattern), None) is not None for pattern in TOKENIZER_FILES)


def _load(config: ModelSettings, model_path: str) -> tuple[nn.Module, Any]:
    local = Path(model_path).expanduser()
    if not local.exists() and (local.is_absolute() or model_path.startswith((".", "~")) or model_path.count("/") != 1):
        raise ConfigError(f"model {model_path}: no such directory, and no hub id (owner/name) either")
    if here().sharded:
        return load_sharded(str(local) if local.exists() else model_path)
    try:
        return load_files(str(local) if local.exists() else model_path, revision=config.revision)[:2]
    except (
        Exception
    ) as error:  # whatever the hub client, json, safetensors or mlx_lm's model classes raise on a bad model
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, KeyError):
            reason = f"its config.json has no {reason}"
        if local.is_dir() and not has_tokenizer(local):
            reason = (
                "there is no tokenizer in it (tokenizer.json, tokenizer.model, vocab.json, ...): copy the model's there"
            )
        place = "" if local.exists() else "neither a local directory nor to be had from the hub: "
        raise ConfigError(f"model {model_path} can't be loaded: {place}{reason or type(error).__name__}") from error


def _unfreeze(model: nn.Module, layers: int) -> None:
    """Train the last `layers` blocks, embeddings and head staying as they are; -1 = train everything."""
    blocks = model.layers
    if layers < 0:
        model.unfreeze()
        return
    if not 1 <= layers <= len(blocks):
        raise ConfigError(f"full_layers must be -1 or 1 to {len(blocks)}, the blocks of this model, got {layers}")
    for block in blocks[-layers:]:
        block.unfreeze()


def _add_adapters(model: nn.Module, lora: LoRA, seed: int, *, dora: bool) -> dict[str, Any]:
    blocks = len(model.layers)
    count = blocks if lora.layers < 0 else lora.layers
    if not 1 <= count <= blocks:
        raise ConfigError(f"lora.layers must be -1 or 1 to {blocks}, the blocks of this model, got {lora.layers}")
    keys = adapted_names(model, lora, experts=not dora and lora.init != "pissa")
    parameters = {
        "rank": lora.rank,
        "scale": lora.alpha / (lora.rank**0.5 if lora.rank_stabilised else lora.rank),
        "dropout": lora.dropout,
        "keys": keys,
    }
    mx.random.seed(seed)
    linear_to_lora_layers(model, count, parameters, use_dora=dora)
    return {"num_layers": count, "lora_parameters": parameters}


def _load_start_adapter(model: nn.Module, folder: str, lora: LoRA) -> AdapterFiles:
    """Adapters of an earlier run or of PEFT; kind, rank, scale and targets are theirs.

    ConfigError where the config asks for others.
    """
    adapter = attach(model, folder)
    if adapter.kind not in ("lora", "dora"):
        raise ConfigError(f"adapter {folder} is of type {adapter.kind}; only lora and dora adapters can be trained on")
    for name, (mine, theirs) in _told(lora, adapter).items():
        raise ConfigError(
            f"lora.{name} is {mine}, but adapter {folder} has {theirs}: leave it out, a run that goes on with an "
            "adapter keeps its settings"
        )
    return adapter


def _told(lora: LoRA, adapter: AdapterFiles) -> dict[str, tuple[Any, Any]]:
    """Return what a config says of adapters that these files say otherwise: name -> (config's, files')."""
    found = adapter.parameters
    rank, scale = int(found["rank"]), float(found["scale"])
    theirs = {
        "rank": rank,
        "alpha": scale * (lora.rank**0.5 if lora.rank_stabilised else rank),
        "dropout": float(found.get("dropout") or 0.0),
        "targets": sorted({str(key).rpartition(".")[2] for key in found.get("keys") or ()}),
        "layers": adapter.num_layers,
    }
    mine = lora.model_dump() | {"targets": lora.targets if lora.targets == "all" else sorted(lora.targets)}
    default = LoRA()
    return {
        name: (mine[name], value)
        for name, value in theirs.items()
        if mine[name] != getattr(default, name) and mine[name] != value
    }


def _turn_frozen_weights(model: nn.Module) -> None:
    """Store every frozen matrix [output, input] that is not wider than high column by column.

    Shape and values stay as they are. For the few rows of decoding, a BLAS spends most of a product x @ weight.T on
    rearranging the matrix; this way round that takes up to a third less, and for many rows nothing changes.
    """
    for part in model.modules():
        if type(part) not in (nn.Linear, nn.Embedding) or "weight" in part.trainable_parameters():
            continue
        if part.weight.shape[0] >= part.weight.shape[1]:
            part.weight = mx.contiguous(part.weight.T).T
            mx.eval(part.weight)
