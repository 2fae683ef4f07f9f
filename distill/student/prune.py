"""Make a smaller model out of a larger one by keeping some of its blocks: what a student can start from.

Embeddings, final norm, head and tokenizer stay as they are. Deep blocks of a trained transformer change their input
little, which is why some can go (ShortGPT, arXiv 2403.03853), but the model that is left has to be healed by a short
supervised run before it says anything of use.
"""

import copy
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from grpo.config.sections import ConfigError
from grpo.model.files import check_files

BLOCK = re.compile(r"(.*?\b(?:layers|blocks|h))\.(\d+)\.(.*)")
OTHER_TOWERS = ("vision", "audio", "visual")  # blocks of theirs are not the language model's
WEIGHTS = "model*.safetensors"
COPIED = ("*.json", "*.jinja", "*.model", "*.txt", "*.py")
NOT_COPIED = ("config.json", "model.safetensors.index.json")


class Source:
    """A model that is to lose blocks: its files, its settings and its weights, which are read when they are used."""

    def __init__(self, model: str) -> None:
        """`model` is a local MLX directory or a hub id; ConfigError, one line, if it can't be had or read."""
        self.folder = _files_of(model)
        self.settings = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        self.files = {file.name: _weights(model, file) for file in sorted(self.folder.glob(WEIGHTS))}
        count = _text_of(self.settings).get("num_hidden_layers")
        if not isinstance(count, int):
            raise ConfigError(f"model {model}: its config.json has no num_hidden_layers, so its blocks are not known")
        self.count = count

    def network(self, blocks: Sequence[int]) -> nn.Module:
        """Return the network that these blocks make; raises whatever mlx_lm raises where they make none."""
        from mlx_lm.utils import _get_classes, load_model

        weights = {name: weight for part in self.parts(blocks).values() for name, weight in part.items()}

        def classes(config: dict[str, Any]) -> tuple[type[nn.Module], type]:
            plain, arguments = _get_classes(config)

            class Pruned(plain):  # type: ignore[valid-type,misc]
                def sanitize(self, _: Any) -> Any:  # is given the whole model's weights
                    return super().sanitize(weights) if hasattr(plain, "sanitize") else weights

            return Pruned, arguments

        network, _ = load_model(self.folder, lazy=True, model_config=self.shortened(blocks), get_model_classes=classes)
        network.__class__ = type(network).mro()[1]
        return network

    def parts(self, blocks: Sequence[int]) -> dict[str, dict[str, mx.array]]:
        """Return what is left of each weight file, under the names that the smaller model has for it."""
        places = {block: place for place, block in enumerate(blocks)}
        return {
            file: {name: weight for old, weight in weights.items() if (name := renamed(old, places)) is not None}
            for file, weights in self.files.items()
        }

    def shortened(self, blocks: Sequence[int]) -> dict[str, Any]:
        """Return the settings of the smaller model; a list with a value a block keeps theirs."""
        settings = copy.deepcopy(self.settings)
        text = _text_of(settings)
        for key, value in text.items():
            if isinstance(value, list) and len(value) == self.count:
                text[key] = [value[block] for block in blocks]
        text["num_hidden_layers"] = len(blocks)
        places = {block: place for place, block in enumerate(blocks)}
        for key in ("quantization", "quantization_config"):
            if isinstance(settings.get(key), dict):
                parts = {renamed(f"{name}.", places): value for name, value in settings[key].items()}
                settings[key] = {name[:-1]: value for name, value in parts.items() if name is not None}
        return settings


def prune(model: str, blocks: Sequence[int], folder: Path) -> dict[str, int]:
    """Write the model with these blocks alone, in this order, to `folder`.

    `model` is a local MLX directory or a hub id. Returns the parameters before and after. Raises ConfigError, one
    line, if the model can't be had, has no such block, or can't be loaded with fewer.
    """
    source = Source(model)
    _check(model, blocks, source.count)
    try:
        source.network(blocks)
    except Exception as error:  # whatever mlx_lm's model classes raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"model {model} can't be loaded with fewer blocks: {reason}") from error
    folder.mkdir(parents=True, exist_ok=True)
    parts = source.parts(blocks)
    for file, kept in parts.items():
        if kept:
            mx.save_safetensors(str(folder / file), kept, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(source.shortened(blocks), indent=1), encoding="utf-8")
    for path in {path for pattern in COPIED for path in source.folder.glob(pattern)}:
        if path.name not in NOT_COPIED:
            shutil.copyfile(path, folder / path.name)
    return {"parameters_before": _size(source.files), "parameters": _size(parts)}


def _size(files: Mapping[str, Mapping[str, mx.array]]) -> int:
    return sum(weight.size for weights in files.values() for weight in weights.values())


def _text_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the language model, which may be inside those of one that sees too."""
    return settings["text_config"] if isinstance(settings.get("text_config"), dict) else settings


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
