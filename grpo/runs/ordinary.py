"""Refuse a run directory in which something else stands where a run has its files and folders.

A pipe would be read for ever, a folder under a file's name ends the run when its turn to be written comes.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from grpo.config.sections import ConfigError

FOLDERS = {"checkpoints", "completions", "evaluations", "probes", "benchmarks", "best", "samples", "start_adapter"}
FILES = {".jsonl", ".json", ".yaml", ".txt", ".md", ".html", ".safetensors", ".lock", ".setup", ".build"}  # endings
UNFINISHED = (".partial_", ".replaced_")  # what comes and goes while a run writes
DEEPEST = 3  # samples/1_of_1/samples.jsonl


def require_ordinary(output: Path) -> None:
    """ConfigError, one line, for the first thing in a run directory that is of another kind than its name says."""
    for path in _entries(output):
        what = _fault(path, at_top=path.parent == output)
        if what is not None:
            raise ConfigError(f"{path} is {what}: take it away")


def _entries(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """What stands in a directory, and in those of its folders that a run writes to."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield path
        if depth > 1 and (depth < DEEPEST or path.name in FOLDERS):
            yield from _entries(path, depth - 1)


def _fault(path: Path, *, at_top: bool) -> str | None:
    if at_top and path.name in FOLDERS:
        return "no directory" if os.path.lexists(path) and not path.is_dir() else None
    if path.name.startswith(UNFINISHED) or (path.suffix or path.name) not in FILES:
        return None
    if path.is_dir():
        return "a directory where a file belongs"
    # one that is not there has gone since it was listed
    return "no regular file" if os.path.lexists(path) and not path.is_file() else None
