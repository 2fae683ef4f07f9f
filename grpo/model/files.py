"""What a model directory must not bring: code to run, files that never end, sizes that no model has."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NO_CODE = {"trust_remote_code": False}  # for every tokenizer: transformers asks on the terminal otherwise
TEMPLATES = "additional_chat_templates"  # a directory in which transformers looks too
MOST_CONFIG_BYTES = 10 << 20
MOST_PARTS = 10_000  # blocks or experts, of which each is made one by one


def check_files(folder: Path) -> None:
    """ValueError, one line, for a directory that no model is to be loaded from."""
    for path in [*folder.glob("*"), *folder.glob(f"{TEMPLATES}/*")]:
        if path.is_dir() and path.suffix in (".json", ".safetensors", ".jinja", ".model", ".txt"):
            raise ValueError(f"{path.name} in it is a directory")
        if path.exists() and not path.is_dir() and not path.is_file():
            raise ValueError(f"{path.name} in it is no regular file")
    path = folder / "config.json"
    if not path.exists():
        return  # others say what is missing
    if path.stat().st_size > MOST_CONFIG_BYTES:
        raise ValueError(f"its config.json is longer than {MOST_CONFIG_BYTES:,} bytes")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("its config.json is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"its config.json can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"its config.json must hold an object, got a {type(settings).__name__}")
    if settings.get("model_file"):
        raise ValueError(f"its network is code in {settings['model_file']}: code of a model's repository is never run")
    try:
        sizes = list(_sizes(settings))
    except RecursionError:
        raise ValueError("its config.json is nested too deeply") from None
    for name, value in sizes:
        if value > MOST_PARTS:
            raise ValueError(f"its config.json says {name} {value}, more than {MOST_PARTS}")


def _sizes(settings: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The numbers of blocks and experts and the lengths of lists of them, those of a model inside the model too."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _sizes(value)
        elif isinstance(value, list | str):
            yield f"{name} of length", len(value)
        elif isinstance(value, int) and name.endswith(("layers", "layer", "experts", "groups")):
            yield name, value


def checked_folder(source: str, *, revision: str | None = None) -> Path:
    """Return the local directory of a model, downloaded if need be; ValueError for what `check_files` refuses."""
    from mlx_lm.utils import _download  # what mlx_lm.load itself begins with: the same files, the same cache

    folder = Path(_download(source, revision=revision))
    check_files(folder)
    return folder


def load_files(source: str, *, revision: str | None = None) -> tuple[Any, Any, dict[str, Any]]:
    """Return network, tokenizer and config.json of a directory or hub id, by mlx_lm; none of its code is run.

    Raises ValueError, one line, for what `check_files` refuses, and whatever the hub client, json, safetensors and
    mlx_lm's model classes raise on a bad model.
    """
    import mlx.core as mx
    from mlx_lm.utils import load

    folder = checked_folder(source, revision=revision)
    loaded: Any = load(str(folder), tokenizer_config=NO_CODE, return_config=True)
    loaded[0](mx.array([[0]]))  # put together, not computed: what is wrong with its sizes and settings raises now
    return loaded
