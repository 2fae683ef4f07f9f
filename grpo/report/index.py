"""Index the saved completions of runs: figures and texts in memory, the rows themselves in their files.

A file is read once, and again when it changes: a run that is still going adds files, one that is resumed replaces some.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grpo.report.features import one_script, rechecks, said_by_model, stop_of
from grpo.report.reading import Row, Run, number, parsed
from grpo.report.table import KINDS, Part, Table

FOLDERS = {"completions": "training", "evaluations": "held out", "probes": "probe"}
GREEDY = "_greedy"
PUBLISH_FROM = 128  # files after which a table of what has been read is handed out; then after twice as many


@dataclass(frozen=True)
class File:
    """One file of completions."""

    path: Path
    run: int
    kind: str
    step: int
    samples: int  # of a group, 0 if not known


class Index:
    """The completions of runs as one table, kept up to date by `refresh`.

    `refresh` may run in a thread of its own; `table` is replaced whole and never changed.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.parts: dict[Path, Part] = {}
        self.table = Table(())
        self.read, self.total = 0, 0  # files of the refresh under way
        self._lock = threading.Lock()

    def refresh(self, published: Callable[[], None] = lambda: None) -> bool:
        """Read files that are new or have changed, forget those that are gone; True if the table is another now."""
        with self._lock:
            files = [file for place, run in enumerate(self.runs) for file in files_of(place, run)]
            signatures = {file.path: _signature(file.path) for file in files}
            stale = [
                file
                for file in files
                if file.path not in self.parts or self.parts[file.path].signature != signatures[file.path]
            ]
            gone = self.parts.keys() - signatures.keys()
            for path in gone:
                del self.parts[path]
            self.read, self.total = 0, len(stale)
            for file in stale:
                self.parts[file.path] = read_part(file, signatures[file.path])
                self.read += 1
                if self.read >= PUBLISH_FROM and self.read & (self.read - 1) == 0:  # a power of two
                    self._publish(files, published)
            if stale or gone:
                self._publish(files, published)
            return bool(stale or gone)

    def _publish(self, files: Sequence[File], published: Callable[[], None]) -> None:
        self.table = Table([self.parts[file.path] for file in files if file.path in self.parts])
        published()


def files_of(place: int, run: Run) -> list[File]:
    """The files of completions of a run, by kind and step."""
    found = []
    for folder, kind in FOLDERS.items():
        for path in (run.path / folder).glob("step_*.jsonl"):
            digits = path.stem.removeprefix("step_").removesuffix(GREEDY)
            if digits.isascii() and digits.isdigit():
                greedy = path.stem.endswith(GREEDY)
                kind_of_file = "held out, greedy" if greedy and kind == "held out" else kind
                found.append(File(path, place, kind_of_file, int(digits), _samples(run, kind_of_file)))
    return sorted(found, key=lambda file: (KINDS.index(file.kind), file.step, file.path))


def _samples(run: Run, kind: str) -> int:
    if run.config is None:
        return 0
    samples = {"training": run.config.num_generations, "held out": run.config.eval_samples}
    return samples.get(kind, 0)


def _signature(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def read_part(file: File, signature: tuple[int, int]) -> Part:
    """Read one file. Lines that are no JSON objects are counted as `bad`; a torn last line is left out."""
    part = Part(file.path, file.run, file.kind, file.step, signature)
    try:
        data = file.path.read_bytes()
    except OSError:  # removed since it was listed
        return part
    asked: tuple[str, str] | None = None
    samples, start = 0, 0
    while start < len(data):
        end = data.find(b"\n", start)
        line = data[start : len(data) if end < 0 else end]
        row = parsed(line) if line.strip() else None
        if row is not None:
            now = (str(row.get("task", "")), str(row.get("prompt", "")))
            begins = now != asked or (file.samples and samples == file.samples)
            samples = 1 if begins else samples + 1
            asked = now
            _add(part, row, start, len(line), begins=bool(begins), sample=samples - 1)
        elif end >= 0 and line.strip():
            part.bad += 1
        start += len(line) + 1
    return part


def _add(part: Part, row: Row, offset: int, length: int, *, begins: bool, sample: int) -> None:
    text = said_by_model(row)
    rewards = row.get("rewards")
    if begins:
        part.group_count += 1
        part.asked_last = f"{row.get('task', '')}\n{row.get('prompt', '')}".casefold()
    part.tasks.append(str(row.get("task", "")))
    part.asked.append(part.asked_last)
    part.stops.append(stop_of(row))
    part.texts.append(text.casefold())
    part.places.append((offset, length, part.group_count - 1, sample))
    share = one_script(text)
    part.figures.append(
        (
            _or_nan(row.get("reward")),
            _or_nan(row.get("advantage")),
            _or_nan(row.get("tokens")),
            float(rechecks(text)),
            np.nan if share is None else share,
        )
    )
    valued = rewards.items() if isinstance(rewards, dict) else ()
    part.rewards.append({str(name): _or_nan(value) for name, value in valued})


def _or_nan(value: object) -> float:
    found = number(value)
    if found is None and isinstance(value, list):  # one advantage a token
        values = [one for one in map(number, value) if one is not None]
        return float(np.mean(values)) if values else np.nan
    return np.nan if found is None else found
