"""Fingerprints of what a run is made of beside its settings: data, rewards' code, model, teacher, starting adapter.

They stand in every checkpoint. A run that is resumed with other ones would go on as another experiment under the same
name, so it is refused, by name, unless the user accepts the change.
"""

import contextlib
import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from envs import DataError, Env
from grpo.config.sections import ConfigError
from grpo.runs import checkpoint
from grpo.runs.imported import Module, file_of, helpers_of, is_own
from rewards.users.packing import BUILT_IN, SCRIPT, is_built_in

DATA = "data"
SPLITS = ("train", "test")
READ = (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken")  # the files of a model directory
WHOLE_BYTES = 1 << 30  # a larger file is hashed at PLACES places
PLACES, PLACE_BYTES = 1024, 1 << 16


def of_tasks(env: Env) -> str:
    """Return the fingerprint of an environment's tasks: prompts, columns, order."""
    return of_values(_rows(env))


def _rows(env: Env) -> Iterator[list[Any]]:
    for split in SPLITS:
        with contextlib.suppress(DataError):  # it has no such split
            yield from ([split, task.id, task.prompt, task.columns] for task in env.tasks(split))


def of_values(values: Iterable[Any]) -> str:
    """Return the fingerprint of values as JSON holds them; of any other object its type counts."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, default=lambda other: type(other).__name__, skipkeys=True).encode())
    return digest.hexdigest()


def of_model(model: str, revision: str | None = None) -> str | None:
    """Return the fingerprint of a model directory, or the commit of one from the hub; None if that is not known."""
    local = Path(model).expanduser()
    if local.is_dir():
        return of_folder(local)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True)).name
    except (OSError, ValueError):  # nothing of it in the cache, such as where HF_HUB_CACHE is another one
        return None


def of_folder(folder: Path) -> str:
    """Return the fingerprint of a directory's weights, config and tokenizer files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in READ and path.is_file()):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            while block := file.read(1 << 20):
                yield block
            return
        for place in range(PLACES):
            file.seek(place * (size - PLACE_BYTES) // (PLACES - 1))
            yield file.read(PLACE_BYTES)


def of_teacher(teacher: str, adapter: str | None) -> dict[str, str | None]:
    """Return the fingerprints of a teacher and its adapter, by name."""
    folder = None if adapter is None else Path(adapter)
    weights = None if folder is None or not folder.is_dir() else of_folder(folder)
    return {f"teacher {teacher}": of_model(teacher), "the teacher's adapter": weights}


def of_rewards(names: Collection[str], functions: Mapping[str, Callable[..., Any]] | None = None) -> dict[str, str]:
    """Return the fingerprint of the file of each reward that is the user's, as "reward NAME".

    And of the user's own modules that such a file imports, as "module NAME, which reward NAME imports".
    """
    digests: dict[str, str] = {}
    origins: dict[str, Module] = {}
    for name in names:
        module = name.partition(":")[0]
        if ":" in name and module.split(".")[0] not in BUILT_IN and (path := file_of(module)) is not None:
            digests[f"reward {name}"] = checkpoint.sha256(path)
            origins[name] = Module(module, path)
    for name, function in (functions or {}).items():
        if not is_built_in(function) and (source := _source(function)) is not None:
            digests[f"reward {name}"] = hashlib.sha256(source.encode()).hexdigest()
            origins[name] = _module_of(function)
    for name, origin in origins.items():
        for helper, path in helpers_of(*origin).items() if is_own(origin.path) else ():
            digests[f"module {helper}, which reward {name} imports"] = checkpoint.sha256(path)
    return digests


def _written(function: Callable[..., Any]) -> Any:
    inner = function.func if isinstance(function, functools.partial) else function
    return inner if inspect.isfunction(inner) or inspect.ismethod(inner) else type(inner)


def _module_of(function: Callable[..., Any]) -> Module:
    """Return the module, or the script, that a function was written in."""
    written = _written(function)
    module = inspect.getmodule(written)
    return Module(SCRIPT if module is None else module.__name__, Path(inspect.getfile(written)))


def _source(function: Callable[..., Any]) -> str | None:
    """Return the module that a function was written in; of one in the script itself its own lines, for scripts change.

    None for what has no source, such as a function of C.
    """
    written = _written(function)
    module = inspect.getmodule(written)
    try:
        return inspect.getsource(written if module is None or module.__name__ == SCRIPT else module)
    except (TypeError, OSError):
        return None


def compare(
    start: Path | None, now: Mapping[str, str | None], *, accept: bool, say: Callable[[str], None]
) -> dict[str, str]:
    """Return what the next checkpoints record; ConfigError if it is not what the checkpoint `start` was made with.

    A name that either of the two lacks is not compared. `accept`: changes are said and taken.
    """
    mine = {name: value for name, value in now.items() if value is not None}
    if start is None:
        return mine
    before: dict[str, str] = checkpoint.read_state(start).get("fingerprints", {})
    changed = [name for name in mine if name in before and mine[name] != before[name]]
    if changed and not accept:
        raise ConfigError(
            f"can't resume from {start}: changed since it was written: {', '.join(changed)}. Put back what it was, "
            "choose another --output, or go on with what is there now: --resume --accept-changes"
        )
    if changed:
        say(f"  changed since {start.name}, and accepted: {', '.join(changed)}")
    return before | mine
