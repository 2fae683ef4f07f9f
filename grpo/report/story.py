"""R1's story as a picture: accuracy, length, re-checking and language, step by step, the stages side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grpo.report.curves import Box, Drawing, Series, draw, ticks, trailing_mean, values_of
from grpo.report.panels import reward_names
from grpo.report.reading import Point, Run
from grpo.report.stages import Pipeline, Stage
from grpo.report.table import KINDS, ONE_SCRIPT, RECHECKS, Table

BOX = Box(190, 120)


@dataclass(frozen=True)
class Measure:
    """One line of the picture."""

    title: str
    unit: str
    metrics: tuple[str, ...]  # curves, the first that a run has
    held_out: str | None  # figure of the pipeline's held-out problems
    share: bool = True  # between 0 and 1


@dataclass(frozen=True)
class Cell:
    """A measure of a stage: its drawing, and its last value in words."""

    drawing: Drawing | None
    said: str


MEASURES = (
    Measure("accuracy", "share right", ("rewards/accuracy/mean",), "accuracy"),
    Measure("length", "tokens", ("completions/mean_length",), "length", share=False),
    Measure("re-checks", "share with wait, let me check, ...", ("text/rechecks",), None),
    Measure("one language", "language reward, else words in one script", ("rewards/language/mean",), "language"),
)


def derived(table: Table, run: int) -> dict[str, list[Point]]:
    """Curves that only the texts of a run's training completions give: mean by step, in order."""
    found = {}
    rows = np.flatnonzero((table.run == run) & (table.kind == KINDS.index("training")))
    for name, column in (("text/rechecks", RECHECKS), ("text/one_script", ONE_SCRIPT)):
        values = table.figures[rows, column]
        present = ~np.isnan(values)
        steps, place = np.unique(table.step[rows][present], return_inverse=True)
        means = np.bincount(place, values[present]) / np.maximum(1, np.bincount(place))
        found[name] = [(float(step), float(mean)) for step, mean in zip(steps, means, strict=True)]
    return {name: points for name, points in found.items() if points}


def story(pipeline: Pipeline, runs: Sequence[Run]) -> list[tuple[Measure, list[Cell]]]:
    """The measures that some stage has, each with a cell a stage; `runs` are the stages' runs with derived curves."""
    by_path = {run.path: run for run in runs}
    lines = []
    for measure in MEASURES:
        series = [_series(measure, stage, by_path) for stage in pipeline.stages]
        if any(series):
            shown = values_of([one for stage in series for one in stage]) + ([0.0, 1.0] if measure.share else [0.0])
            ends = ticks(min(shown), max(shown))
            lines.append((measure, [_cell(one, (ends[0], ends[-1])) for one in series]))
    return lines


def _series(measure: Measure, stage: Stage, by_path: Mapping[Path, Run]) -> list[Series]:
    found = []
    run = by_path.get(stage.run.path) if stage.run is not None else None
    last = 1.0
    if run is not None:
        last = float(run.last_step)
        points = _curve(measure, run)
        if points:
            found.append(Series("training", trailing_mean(points, 1 + len(points) // 20)))
    if measure.held_out in stage.held_out:
        mean, low, high = stage.held_out[str(measure.held_out)]
        found.append(Series("held out after the stage", [(last, mean)], 1, dots=True, intervals=[(last, low, high)]))
    return found


def _curve(measure: Measure, run: Run) -> list[Point]:
    names = list(measure.metrics)
    if measure.title == "accuracy":
        names += [f"rewards/{name}/mean" for name in reward_names([run]) if "accuracy" in name]
    if measure.title == "one language":
        names.append("text/one_script")
    return next((points for name in names if (points := run.curve(name))), [])


def _cell(series: Sequence[Series], values: Sequence[float]) -> Cell:
    if not series:
        return Cell(None, "")
    parts = []
    for one in series:
        first, last = one.points[0][1], one.points[-1][1]
        parts.append(f"held out {last:.3g}" if one.dots else f"{first:.3g} → {last:.3g}")
    return Cell(draw(series, box=BOX, values=values), ", ".join(parts))
