"""Checkpoints that survive a kill at any moment and a run directory that has one writer.

A checkpoint is written beside its place, flushed to disk, listed with sizes and hashes in manifest.json, and only
then renamed: what is there is whole. On loading the newest is verified; a damaged one is set aside and the one before
it is taken.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

import mlx.core as mx

from envs import DataError
from grpo.config.sections import ConfigError
from grpo.model.policy import ADAPTER_CONFIG, ADAPTER_FILE

MANIFEST, STATE, OPTIMIZER = "manifest.json", "state.json", "optimizer.safetensors"
REFERENCE = "reference.safetensors"
CHECKPOINT_FILES = (ADAPTER_FILE, ADAPTER_CONFIG, OPTIMIZER, STATE)
FILES = "files"  # in the state: the names of those written with it, whatever the manifest lists
SPARE_BYTES = 16 << 20
# all that is in a directory when a start is refused
BARE = {".lock", ".setup", "log.txt", "settings.json", "start_adapter"}


class Lock:
    """A run directory held for this process until it is closed.

    As a context it also takes a new directory away again where the start is refused (a ConfigError or DataError) and
    nothing but the refusal is in it.
    """

    def __init__(self, output: Path, handle: IO[str], *, new: bool) -> None:
        self.output, self.handle, self.new = output, handle, new

    def close(self) -> None:
        """Let go of the directory."""
        self.handle.close()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, ConfigError | DataError) and self.new:
            remove_bare(self.output)
        self.close()


def remove_bare(output: Path) -> None:
    """Remove a directory in which there is nothing but locks and what was said before a start was refused."""
    with contextlib.suppress(OSError):
        if {path.name for path in output.iterdir()} <= BARE:
            shutil.rmtree(output)


def lock(output: Path) -> Lock:
    """Hold the run directory; ConfigError if another process does."""
    new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        handle = (output / ".lock").open("w")
    except OSError as error:
        raise ConfigError(f"output {output} can't be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise ConfigError(f"output {output} is in use by another run: wait for it or choose another --output") from None
    return Lock(output, handle, new=new)


def save(
    checkpoints: Path,
    step: int,
    *,
    weights: dict[str, mx.array],
    adapter_config: Mapping[str, Any],
    optimizer: dict[str, mx.array],
    state: Mapping[str, Any],
    reference: Mapping[str, mx.array] | None = None,
) -> Path:
    """Write checkpoints/step_NNNNNN; raises OSError with what it needed if the disk is full, leaving what was there."""
    leaves = [*weights.values(), *optimizer.values(), *(reference or {}).values()]
    _require_space(checkpoints, sum(leaf.nbytes for leaf in leaves))
    final = checkpoints / f"step_{step:06d}"
    partial = checkpoints / f".partial_{step:06d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        mx.save_safetensors(str(partial / ADAPTER_FILE), weights, metadata={"format": "mlx"})
        mx.save_safetensors(str(partial / OPTIMIZER), optimizer)
        if reference is not None:  # one that has moved since the run's start
            mx.save_safetensors(str(partial / REFERENCE), dict(reference))
        (partial / ADAPTER_CONFIG).write_text(json.dumps(adapter_config, indent=1))
        files = sorted(path.name for path in partial.iterdir())
        (partial / STATE).write_text(json.dumps({**state, FILES: files}, indent=1))
        seal(partial)
    except RuntimeError as error:  # mlx's writer reports a failed write this way, without a cause
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(f"checkpoint {final} could not be written, most likely the disk is full: {error}") from error
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    put_in_place(partial, final)
    return final


def seal(folder: Path) -> None:
    """List the files of a directory with sizes and hashes in its manifest, and flush all of them to the disk."""
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    manifest = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in names}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for path in folder.iterdir():
        _flush(path)
    _flush(folder)


def put_in_place(partial: Path, final: Path) -> None:
    """Rename a sealed directory to its place; one that is there is deleted once the new one has its name."""
    replaced = final.with_name(f".replaced_{final.name}")
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    partial.rename(final)
    _flush(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def publish(checkpoint: Path, output: Path) -> None:
    """Copy the checkpoint's adapter into the run directory itself, as the run's latest."""
    for name in (ADAPTER_FILE, ADAPTER_CONFIG):
        partial = output / f".partial_{name}"
        shutil.copyfile(checkpoint / name, partial)
        _flush(partial)
        os.replace(partial, output / name)


def prune(checkpoints: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for path in sorted(checkpoints.glob("step_*"))[:-keep]:
        shutil.rmtree(path, ignore_errors=True)


def newest(checkpoints: Path) -> tuple[Path | None, list[str]]:
    """Return the newest whole checkpoint and a line for every damaged one, which is set aside as damaged_*.

    Raises ConfigError if there are checkpoints and all are damaged: starting over would hide the loss.
    """
    shown: list[str] = []
    for path in checkpoints.glob(".replaced_step_*"):
        put_back(path.with_name(path.name.removeprefix(".replaced_")))
    found = sorted(checkpoints.glob("step_*"), reverse=True)
    for path in found:
        fault = fault_of(path, CHECKPOINT_FILES)
        if fault is None:
            return path, shown
        aside = path.with_name(f"damaged_{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        shown.append(
            f"checkpoint {path.name} is damaged ({fault}): set aside as {aside.name}, the one before it is taken"
        )
    if any(checkpoints.glob("damaged_step_*")):
        raise ConfigError(f"no checkpoint in {checkpoints} is whole: start a new run with another --output")
    return None, shown


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the state that `save` was given."""
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    state.pop(FILES, None)
    return state


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file of a run holds; ConfigError, one line, for a file that is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path} can't be read ({why}): put it back, or choose another --output") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold an object, got a {type(found).__name__}: choose another --output")
    return found


def sha256(path: Path) -> str:
    """Return the hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace a small file atomically."""
    partial = path.with_name(f".partial_{path.name}")
    partial.write_text(text, encoding="utf-8", errors="replace")
    _flush(partial)
    os.replace(partial, path)


def put_back(final: Path) -> None:
    """Mend what a kill between the two renames of `put_in_place` left."""
    replaced = final.with_name(f".replaced_{final.name}")
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
    elif replaced.exists():
        replaced.rename(final)


def fault_of(checkpoint: Path, needed: Collection[str]) -> str | None:
    """Return what is wrong with a sealed directory that has to hold the `needed` files; None if it is whole."""
    try:
        if odd := sorted(path.name for path in checkpoint.iterdir() if not path.is_file()):
            return f"{odd[0]} is no regular file"
        manifest = json.loads((checkpoint / MANIFEST).read_text())
        there = {path.name for path in checkpoint.iterdir() if path.name != MANIFEST and path.name[0] != "."}
        if unlisted := sorted((there | set(needed)) - set(manifest)):
            return f"{MANIFEST} does not list {unlisted[0]}"
        for name, expected in manifest.items():
            if (checkpoint / name).stat().st_size != expected["bytes"]:
                return f"{name} has another size than when it was written"
            if sha256(checkpoint / name) != expected["sha256"]:
                return f"{name} has changed since it was written"
        written = json.loads((checkpoint / STATE).read_text()).get(FILES, ()) if STATE in needed else ()
        if lost := sorted(set(written) - set(manifest)):
            return f"{lost[0]}, which was written with it, is gone"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{MANIFEST}: {' '.join(str(error).split()) or type(error).__name__}"
    return None


def _require_space(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise OSError(f"the disk is full: a checkpoint needs {needed >> 20} MiB in {folder}, {free >> 20} MiB are free")


def _flush(path: Path) -> None:
    """Flush a file to the disk itself; macOS needs a call of its own for that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if hasattr(fcntl, "F_FULLFSYNC"):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
