"""Read what a page is about: run directories, and pipeline directories with a run a stage."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grpo.evaluate.intervals import interval
from grpo.report.markdown import Block, blocks
from grpo.report.reading import NoStepYet, ReportError, Row, Run, labels, number, read_run, read_yaml

HELD_OUT, TABLE, DONE = "held_out.json", "stages.md", "stage.json"
Z = 1.96  # standard errors of a 95% interval
Figure = tuple[float, float, float]  # mean, low, high


@dataclass(frozen=True)
class Stage:
    """One stage of a pipeline that trains or gives a model."""

    name: str
    kind: str
    note: str
    run: Run | None  # None where it trains nothing, or has made no step yet
    held_out: dict[str, Figure]  # on the pipeline's held-out problems; empty before it is measured
    ended: bool


@dataclass(frozen=True)
class Pipeline:
    """The stages of R1 in order."""

    path: Path
    title: str
    stages: list[Stage]
    to_come: list[str]  # names of the stages that have not ended and have nothing to show yet
    table: list[Block]  # of stages.md; empty before it is written


@dataclass(frozen=True)
class Reading:
    """Everything a page shows but the completions."""

    runs: list[Run]  # of all directories, those of pipelines by the names of their stages
    pipelines: list[Pipeline]
    paths: list[Path]  # the directories that were asked for


def read(paths: Sequence[Path]) -> Reading:
    """Read run and pipeline directories, each once; ReportError if one of them holds nothing to show."""
    unique = list(dict.fromkeys(path.resolve() for path in paths))
    runs: list[Run] = []
    pipelines: list[Pipeline] = []
    for path in unique:
        if is_pipeline(path):
            pipeline = read_pipeline(path)
            pipelines.append(pipeline)
            runs += [stage.run for stage in pipeline.stages if stage.run is not None]
        else:
            runs.append(read_run(path, path.name))
    named = labels([run.path for run in runs])
    return Reading([replace(run, label=label) for run, label in zip(runs, named, strict=True)], pipelines, unique)


def is_pipeline(path: Path) -> bool:
    """Return whether the directory is one of `python -m distill.pipeline`."""
    return not (path / "metrics.jsonl").exists() and isinstance(read_yaml(path / "config.yaml").get("stages"), dict)


def read_pipeline(path: Path) -> Pipeline:
    """Read the stages that give a model, in order; ReportError if none has begun."""
    config = read_yaml(path / "config.yaml")
    stages = [
        _stage(path / name, name, stage if isinstance(stage, dict) else {}) for name, stage in config["stages"].items()
    ]
    shown = [stage for stage in stages if stage.run is not None or stage.held_out]
    if not shown:
        raise NoStepYet(f"no stage of {path} has made a step yet")
    asked = [one for one in stages if config.get("controls") or not _is_control(config["stages"][one.name])]
    table = _table(path / TABLE)
    to_come = [stage.name for stage in asked if stage not in shown and not stage.ended]
    if table:  # written by the last stage, which leaves nothing else
        to_come = []
    return Pipeline(path, str(config.get("title", path.name)), shown, to_come, table)


def _is_control(stage: object) -> bool:
    return isinstance(stage, dict) and bool(stage.get("control"))


def _table(path: Path) -> list[Block]:
    try:
        return blocks(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # it comes with the last stage
        return []


def _stage(folder: Path, name: str, stage: Row) -> Stage:
    try:
        run = read_run(folder, name) if (folder / "metrics.jsonl").exists() else None
    except ReportError:  # begun, without a step
        run = None
    kind, note = str(stage.get("kind", "")), str(stage.get("note", "") or "")
    return Stage(name, kind, note, run, _held_out(folder / HELD_OUT), (folder / DONE).exists())


def _held_out(path: Path) -> dict[str, Figure]:
    """Mean and 95% interval over the tasks of every figure of held_out.json."""
    try:
        tasks = json.loads(path.read_bytes())["tasks"]
        columns = {str(name): [number(value) for value in values] for name, values in tasks.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    present = {name: [value for value in values if value is not None] for name, values in columns.items()}
    return {name: _figure(name, values) for name, values in present.items() if values}


def _figure(name: str, values: list[float]) -> Figure:
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    if name != "length":
        return (mean, *interval(values))
    half = Z * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return mean, mean - half, mean + half
