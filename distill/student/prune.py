"""Make a smaller model out of a larger one by keeping some of its blocks: what a student can start from.

Embeddings, final norm, head and tokenizer stay as they are. Deep blocks of a trained transformer change their input
little, which is why some can go (ShortGPT, arXiv 2403.03853), but the model that is left has to be healed by a short
supervised run before it says anything of use.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from grpo.config.sections import ConfigError
from grpo.model.files import check_files

BLOCK = re.compile(r"(.*?\b(?:layers|blocks|h))\.(\d+)\.(.*)")
OTHER_TOWERS = ("vision", "audio", "visual")  # blocks of theirs are not the language model's
WEIGHTS = "model*.safetensors"
COPIED = ("*.json", "*.jinja", "*.model", "*.txt", "*.py")
NOT_COPIED = ("config.json", "model.safetensors.index.json")


def prune(model: str, blocks: Sequence[int], folder: Path) -> dict[str, int]:
    """Write the model with these blocks alone, in this order, to `folder`.

    `model` is a local MLX directory or a hub id. Returns the parameters before and after. Raises ConfigError, one
    line, if the model can't be had, has no such block, or can't be loaded with fewer.
    """
    source = _files_of(model)
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    text = settings["text_config"] if isinstance(settings.get("text_config"), dict) else settings
    count = text.get("num_hidden_layers")
    if not isinstance(count, int):
        raise ConfigError(f"model {model}: its config.json has no num_hidden_layers, so its blocks are not known")
    _check(model, blocks, count)
    places = {block: place for place, block in enumerate(blocks)}
    folder.mkdir(parents=True, exist_ok=True)
    before = after = 0
    for file in sorted(source.glob(WEIGHTS)):
        weights = _weights(model, file)
        kept = {name: weights[old] for old in weights if (name := renamed(old, places)) is not None}
        before += sum(weight.size for weight in weights.values())
        after += sum(weight.size for weight in kept.values())
        if kept:
            mx.save_safetensors(str(folder / file.name), kept, metadata={"format": "mlx"})
    _shorten(text, blocks, count)
    for key in ("quantization", "quantization_config"):
        if isinstance(settings.get(key), dict):
            parts = {renamed(f"{name}.", places): value for name, value in settings[key].items()}
            settings[key] = {name[:-1]: value for name, value in parts.items() if name is not None}
    (folder / "config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    for path in {path for pattern in COPIED for path in source.glob(pattern)}:
        if path.name not in NOT_COPIED:
            shutil.copyfile(path, folder / path.name)
    _load(model, folder)
    return {"parameters_before": before, "parameters": after}


def _weights(model: str, file: Path) -> dict[str, mx.array]:
    try:
        weights: Any = mx.load(str(file))
    except RuntimeError as error:  # what mlx raises on a file that is torn or none of its kind
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"model {model}: {file.name} can't be read: {reason}") from None
    return dict(weights)


def renamed(name: str, places: Mapping[int, int]) -> str | None:
    """The name of a weight when block `b` has become block `places[b]`; None for one of a block that is dropped."""
    found = BLOCK.fullmatch(name)
    if found is None or any(tower in found[1] for tower in OTHER_TOWERS):
        return name
    place = places.get(int(found[2]))
    return None if place is None else f"{found[1]}.{place}.{found[3]}"


def _files_of(model: str) -> Path:
    from mlx_lm.utils import _download

    local = Path(model).expanduser()
    if not local.exists() and model.count("/") != 1:
        raise ConfigError(f"model {model}: no such directory, and no hub id (owner/name) either")
    try:
        source = local if local.exists() else Path(_download(model))
    except Exception as error:  # whatever the hub client raises
        raise ConfigError(f"model {model} can't be had from the hub: {' '.join(str(error).split())[:200]}") from error
    if not (source / "config.json").exists() or not list(source.glob(WEIGHTS)):
        raise ConfigError(f"model {model}: no config.json with {WEIGHTS} there")
    try:
        check_files(source)
    except ValueError as error:
        raise ConfigError(f"model {model}: {error}") from None
    return source


def _check(model: str, blocks: Sequence[int], count: int) -> None:
    unknown = [block for block in blocks if not 0 <= block < count]
    if unknown:
        raise ConfigError(f"blocks must be from 0 to {count - 1}, the blocks of {model}, got {unknown[0]}")
    if len(set(blocks)) < len(blocks):
        raise ConfigError(f"blocks must differ, got {list(blocks)}")


def _shorten(text: dict[str, Any], blocks: Sequence[int], count: int) -> None:
    """Make the settings those of the blocks that are left; a list with a value a block keeps theirs."""
    for key, value in text.items():
        if isinstance(value, list) and len(value) == count:
            text[key] = [value[block] for block in blocks]
    text["num_hidden_layers"] = len(blocks)


def _load(model: str, folder: Path) -> None:
    """ConfigError where mlx_lm can't make a network of what was written."""
    from mlx_lm.utils import load_model

    try:
        load_model(folder, lazy=True)
    except Exception as error:  # whatever mlx_lm's model classes raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"model {model} can't be loaded with fewer blocks: {reason}") from error
