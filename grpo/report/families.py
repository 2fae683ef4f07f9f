"""Runs that differ in nothing but their seed belong together: a mean line with a band."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from grpo.report.curves import Interval, Point
from grpo.report.reading import Run

APART = {"seed", "output"}  # keys that do not make runs of different kinds


@dataclass(frozen=True)
class Family:
    """Runs of one config, each with a seed of its own; often only one."""

    label: str
    runs: list[Run]

    def curve(self, metric: str) -> tuple[list[Point], list[Interval]]:
        """The mean over the seeds at every step all of them have, and the lowest and highest of them."""
        return _together([run.curve(metric) for run in self.runs])

    def held_out(self, name: str) -> tuple[list[Point], list[Interval]]:
        """A held-out figure; the intervals are over tasks for one run, over the seeds for several."""
        if len(self.runs) > 1:
            return _together([run.held_out(name) for run in self.runs])
        run = self.runs[0]
        highs = dict(run.held_out(f"{name}_high"))
        lows = run.held_out(f"{name}_low")
        return run.held_out(name), [(step, low, highs[step]) for step, low in lows if step in highs]


def families(runs: Sequence[Run]) -> list[Family]:
    """Group the runs whose configs are equal but for the seed, in the order of their first."""
    found: list[tuple[Any, list[Run]]] = []
    for run in runs:
        settings = {key: value for key, value in run.settings.items() if key not in APART}
        key = (run.supervised, settings) if run.settings else object()
        for other, members in found:
            if other == key and run.settings.get("seed") not in [one.settings.get("seed") for one in members]:
                members.append(run)
                break
        else:
            found.append((key, [run]))
    return [Family(_label(members), members) for _, members in found]


def _label(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return runs[0].label
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*(run.label for run in runs), strict=False))
    name = "".join(letters[0] for letters in alike).rstrip("-_./ 0123456789") or runs[0].label
    return f"{name} ({len(runs)} seeds)"


def _together(curves: Sequence[list[Point]]) -> tuple[list[Point], list[Interval]]:
    if len(curves) == 1:
        return curves[0], []
    by_step = [dict(curve) for curve in curves]
    steps = sorted(set.intersection(*map(set, by_step)))
    values = [[one[step] for one in by_step] for step in steps]
    points = [(step, float(np.mean(each))) for step, each in zip(steps, values, strict=True)]
    return points, [(step, min(each), max(each)) for step, each in zip(steps, values, strict=True)]
