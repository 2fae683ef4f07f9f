"""A stage's record on disk: the hash of its inputs when it began, and of its product when it was done.

A stage whose inputs are those recorded and whose product is whole is not run again. One that began with the same
inputs goes on; one that began with others is moved to replaced/ and starts again.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from grpo.config.sections import ConfigError
from grpo.runs.checkpoint import write_text

BEGUN, DONE, REPLACED = "inputs.json", "stage.json", "replaced"


@dataclass(frozen=True)
class Record:
    """stage.json: a finished stage."""

    inputs: str  # hash of all it was made from
    product: str  # hash of what it gave
    figures: dict[str, Any] = field(default_factory=dict)


def finished(folder: Path) -> Record | None:
    """The record of a stage that was done; None where there is none that can be read."""
    try:
        return Record(**json.loads((folder / DONE).read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def begin(folder: Path, inputs: str, of: Mapping[str, Any], *, again: bool) -> str | None:
    """Make a stage's directory ready; return a line on an earlier attempt that is set aside.

    With `again` it is set aside even where the inputs are the same; so is one that began in
    another folder, because its records hold paths. Raises ConfigError for a directory that holds something else.
    """
    said, begins = None, {"inputs": inputs, "folder": str(folder.resolve())}
    if folder.exists() and any(not path.name.startswith(".partial") for path in folder.iterdir()):
        begun = _begun(folder)
        if not begun:
            raise ConfigError(f"{folder} holds something that is no stage of a pipeline: choose another --output")
        if begun != begins or again:
            aside = folder.parent / REPLACED / folder.name
            aside.parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            reason = "its inputs have changed" if begun["inputs"] != inputs else "run again"
            said = f"{reason}: what was there is in {aside}"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / BEGUN, json.dumps({**begins, "of": of}, indent=1, default=str))
    return said


def _begun(folder: Path) -> dict[str, str]:
    """Return the inputs and place a stage began with; empty if this is no stage."""
    try:
        found = json.loads((folder / BEGUN).read_text())
        return {key: str(found[key]) for key in ("inputs", "folder")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def finish(folder: Path, record: Record) -> None:
    """Write that the stage is done: the last thing that happens in it."""
    write_text(folder / DONE, json.dumps(asdict(record), indent=1, default=str))
