"""Read run directories. A run may still be going: its last line may be torn, its summary missing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpo.config import Config, parsing
from grpo.config.layers import build
from grpo.config.sections import ConfigError

LARGEST = 1e100

Row = dict[str, Any]  # one JSON object of a file
Point = tuple[float, float]  # step, value


class ReportError(ValueError):
    """There is nothing to report on; the message is one clear line."""


class NoStepYet(ReportError):
    """The run has begun, but no step of it is finished."""


@dataclass(frozen=True)
class Run:
    """One run directory of GRPO, SFT or a student."""

    path: Path
    label: str  # the shortest end of the path that no other run of the page has
    metrics: dict[int, dict[str, float]]  # step -> finite values by metric name, steps in order
    summary: Row  # of summary.json; empty while the run is going
    config_text: str  # config.yaml as it is
    settings: Row  # the keys of config.yaml; empty where it can't be read
    config: Config | None  # None where config.yaml is missing, of another version or of a supervised run
    notes: list[str] = field(default_factory=list)  # what could not be read
    derived: Mapping[str, Sequence[Point]] = field(default_factory=dict)  # curves that the completions give

    @property
    def last_step(self) -> int:
        """The newest step that metrics.jsonl holds."""
        return max(self.metrics)

    @property
    def supervised(self) -> bool:
        """Return whether the run learns from given answers (SFT, a student): it has losses and no rewards."""
        return is_supervised(self.metrics)

    def curve(self, name: str) -> list[Point]:
        """(step, value) of one metric."""
        if name in self.derived:
            return list(self.derived[name])
        return [(step, values[name]) for step, values in self.metrics.items() if name in values]

    def figures(self, when: str) -> Row:
        """The held-out figures `before` or `after`; empty where there are none."""
        return _mapping(self.summary.get(when))

    def held_out(self, name: str) -> list[Point]:
        """(step, value) of a held-out figure: before, at every eval_every, after."""
        points = self.curve(f"eval/{name}")
        before, after = number(self.figures("before").get(name)), number(self.figures("after").get(name))
        steps = number(self.summary.get("steps"))
        if before is not None:
            points.insert(0, (0.0, before))
        if after is not None:
            points.append((self.last_step if steps is None else steps, after))
        return sorted(points)


def is_supervised(metrics: Mapping[int, Mapping[str, float]]) -> bool:
    """Return whether no step has a reward or completions."""
    return not any("reward" in values or "completions/mean_length" in values for values in metrics.values())


def labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of these paths that tell them apart."""
    for length in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        ends = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(ends)) == len(ends):
            return ends
    return [str(path) for path in paths]


def number(value: object) -> float | None:
    """The value if it is a number that can be drawn; a sum of figures beyond LARGEST could overflow."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:  # nan is not below
        return None
    return float(value)


def read_lines(path: Path) -> tuple[list[Row], int]:
    """The JSON objects of a file, and how many lines before the last are none; a torn last line is left out.

    Lines end at a newline byte: a completion may hold other line separators.
    """
    *whole, torn = path.read_bytes().split(b"\n")  # `torn` is empty where the file ends with a newline
    found = [parsed(line) for line in whole if line.strip()]
    last = parsed(torn)
    rows = [row for row in [*found, last] if row is not None]
    return rows, found.count(None)


def parsed(line: bytes) -> Row | None:
    """The JSON object of a line; None if it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def read_run(path: Path, label: str) -> Run:
    """Read one run directory; ReportError if it holds no finished step."""
    notes: list[str] = []
    metrics = _read_metrics(path, notes)
    summary = _read_summary(path / "summary.json", notes)
    steps = number(summary.get("steps"))
    if steps is not None and steps < max(metrics):
        notes.append(f"summary.json is of step {steps:.0f}, the run has gone on since")
    text, settings, config = _read_config(path / "config.yaml", notes, supervised=is_supervised(metrics))
    return Run(path, label, metrics, summary, text, settings, config, notes)


def read_yaml(path: Path) -> Row:
    """The keys of a YAML file; empty if it can't be read or holds none."""
    try:
        return parsing.read_yaml(path)
    except ConfigError:
        return {}


def _read_metrics(path: Path, notes: list[str]) -> dict[int, dict[str, float]]:
    if not path.is_dir():
        raise ReportError(f"no run directory {path}")
    try:
        rows, bad = read_lines(path / "metrics.jsonl")
    except OSError as error:
        kind = NoStepYet if (path / "log.txt").exists() else ReportError
        raise kind(f"no metrics to report on: {path / 'metrics.jsonl'}: {error.strerror}") from None
    if bad:
        notes.append(f"{bad} line(s) of metrics.jsonl could not be read and are left out")
    metrics: dict[int, dict[str, float]] = {}
    for row in rows:
        step = number(row.pop("step", None))
        if step is not None:
            values = {name: number(value) for name, value in row.items()}
            metrics[int(step)] = {name: value for name, value in values.items() if value is not None}
    if not metrics:
        raise NoStepYet(f"no metrics to report on: {path / 'metrics.jsonl'} holds no finished step")
    return dict(sorted(metrics.items()))


def _read_summary(path: Path, notes: list[str]) -> Row:
    try:
        return _mapping(json.loads(path.read_bytes()))
    except FileNotFoundError:
        notes.append("no summary.json yet: the run is still going, or was stopped")
    except (OSError, ValueError, RecursionError):
        notes.append("summary.json could not be read")
    return {}


def _read_config(path: Path, notes: list[str], *, supervised: bool) -> tuple[str, Row, Config | None]:
    """The text, the keys and, of a GRPO run, the config."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        notes.append(f"config.yaml could not be read: {error.strerror}")
        return "", {}, None
    tree = read_yaml(path)
    if supervised and tree:
        return text, tree, None
    try:
        if not tree:
            raise ConfigError("it holds no `key: value` lines")
        return text, tree, build(Config, tree, source="config.yaml")
    except ConfigError as error:
        notes.append(f"config.yaml is not one of this version: {' '.join(str(error).split())}")
        return text, tree, None


def _mapping(value: object) -> Row:
    return value if isinstance(value, dict) else {}
