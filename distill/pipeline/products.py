"""The product of a stage for later stages, and its hash."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.export.config import ExportConfig
from distill.export.run import run_export
from envs.files import JSON_SUFFIXES, TABLE_SUFFIXES
from grpo.config.sections import ConfigError
from grpo.model.policy import ADAPTER_CONFIG, ADAPTER_FILE
from grpo.runs.checkpoint import sha256

MODEL, CORPUS, TASKS = "model", "corpus.jsonl", "tasks.jsonl"
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model")
DATA_FILES = (*JSON_SUFFIXES, *TABLE_SUFFIXES)
_HASHES: dict[tuple[str, int, int], str] = {}  # (path, bytes, time of change) -> sha256, for this process


@dataclass(frozen=True)
class Product:
    """The product of a stage for later stages: a model, or a corpus file."""

    model: str | None = None  # directory or hub id
    adapter: str | None = None  # directory of LoRA adapters on it
    corpus: str | None = None  # file


def digest(product: Product) -> str | None:
    """Hash of a product's bytes; of a hub model its id. None if a file is missing."""
    parts: list[str] = []
    if product.model is not None:
        folder = Path(product.model).expanduser()
        files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)}) if folder.is_dir() else []
        parts += [f"{path.name} {_hash(path)}" for path in files] or [product.model]
    if product.adapter is not None:
        files = [Path(product.adapter) / name for name in (ADAPTER_FILE, ADAPTER_CONFIG)]
        if not all(path.exists() for path in files):
            return None
        parts += [_hash(path) for path in files]
    if product.corpus is not None:
        if not Path(product.corpus).exists():
            return None
        parts.append(_hash(Path(product.corpus)))
    return hash_of(parts)


def named_files(settings: Any) -> dict[str, str]:
    """Hash of every local data file that settings name, by the name they use."""
    if isinstance(settings, dict):
        return {name: found for value in settings.values() for name, found in named_files(value).items()}
    if isinstance(settings, list):
        return {name: found for value in settings for name, found in named_files(value).items()}
    if isinstance(settings, str) and settings.endswith(DATA_FILES) and Path(settings).is_file():
        return {settings: _hash(Path(settings))}
    return {}


def hash_of(value: Any) -> str:
    """Hash of anything JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _hash(path: Path) -> str:
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _HASHES:
        _HASHES[key] = sha256(path)
    return _HASHES[key]


def fuse(model: str, folder: Path) -> None:
    """Weights of its own for a stage that trained all of them, or adapters that can't be trained on (DoRA)."""
    if not (folder / ADAPTER_FILE).exists():
        raise ConfigError(f"{folder}: no {ADAPTER_FILE} there")
    shutil.rmtree(folder / MODEL, ignore_errors=True)  # of a process that was killed before the stage was done
    run_export(ExportConfig(model=model, adapter=str(folder), output=str(folder / MODEL)))
