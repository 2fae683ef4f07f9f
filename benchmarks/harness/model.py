"""The model that is measured, and everything about it and this machine that a result has to name."""

import hashlib
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from benchmarks.harness.settings import Settings
from grpo.config.sections import ConfigError
from grpo.model.policy import Policy

PACKAGES = ("grpo-mlx", "mlx", "mlx-lm", "numpy", "mpmath", "transformers")
HASHED = ("*.safetensors", "config.json", "generation_config.json", "tokenizer*", "*.jinja")


def check_paths(settings: Settings) -> None:
    """ConfigError, one line, for a model or adapter that can't be there; asks nobody."""
    if settings.server is not None:
        return
    local = Path(settings.model).expanduser()
    looks_local = local.is_absolute() or settings.model.startswith((".", "~")) or settings.model.count("/") != 1
    if not local.exists() and looks_local:
        raise ConfigError(f"model {settings.model}: no such directory, and no hub id (owner/name) either")
    if settings.adapter is not None and not (Path(settings.adapter) / "adapter_config.json").exists():
        raise ConfigError(f"adapter {settings.adapter}: no adapter_config.json there")


def local_folder(settings: Settings) -> Path:
    """Return the folder of the model's files, downloaded first from the hub; ConfigError, one line, if that fails."""
    from mlx_lm.utils import _download  # what mlx_lm.load itself begins with: the same files, the same cache

    check_paths(settings)
    local = Path(settings.model).expanduser()
    try:
        return Path(_download(str(local) if local.exists() else settings.model, revision=settings.revision))
    except Exception as error:  # whatever the hub client raises
        raise ConfigError(f"model {settings.model} can't be had from the hub: {_one_line(error)}") from error


def load_for_sampling(settings: Settings) -> Policy:
    """The model with its adapter, nothing of it to be trained. ConfigError, one line, if it can't be loaded."""
    import mlx.core as mx

    from grpo.model.adapter_files import attach
    from grpo.model.files import load_files

    try:
        model, tokenizer = load_files(str(local_folder(settings)))[:2]
        if settings.adapter is not None:
            attach(model, settings.adapter)
    except ConfigError:
        raise
    except Exception as error:  # whatever json, safetensors or mlx_lm's model classes raise on a bad model
        what = f"model {settings.model}" + (f" with adapter {settings.adapter}" if settings.adapter else "")
        raise ConfigError(f"{what} can't be loaded: {_one_line(error)}") from error
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    dtype = {"auto": mx.float32 if on_cpu else None}.get(settings.dtype, getattr(mx, settings.dtype, None))
    if dtype is not None:
        model.set_dtype(dtype)
    model.freeze()
    mx.eval(model.parameters())
    return Policy(model, tokenizer, adapter_settings=None, fine_tune="full")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def identity(settings: Settings) -> dict[str, Any]:
    """sha256 of the model's files (weights, tokenizer, config) and of the adapter's; None of a server's model."""
    if settings.server is not None:
        return {"model_sha256": None, "adapter_sha256": None}
    from grpo.model.adapter_files import files_of

    adapter = None
    if settings.adapter is not None:
        adapter = _digest(Path(settings.adapter), tuple(path.name for path in files_of(settings.adapter)))
    return {"model_sha256": _digest(local_folder(settings), HASHED), "adapter_sha256": adapter}


def _digest(folder: Path, patterns: tuple[str, ...]) -> str:
    """One digest of several files: of each name and content, in order."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def surroundings() -> dict[str, Any]:
    """Versions and machine."""
    import mlx.core as mx

    from grpo.cpu.blas import load_blas

    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine = {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "device": str(mx.default_device()),
        "blas": load_blas().name,
    }
    return {"versions": versions, "machine": machine}
