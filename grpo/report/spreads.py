"""How the rewards of single completions are spread, and how far the parts of a reward agree."""

from dataclasses import dataclass

import numpy as np

from grpo.report.panels import short_name
from grpo.report.table import KINDS, REWARD, TOKENS, Table

BINS = 10
SHARE = 5  # the first and the last fifth of the steps are set against each other


@dataclass(frozen=True)
class Histogram:
    """The shares of completions in bins of equal width, early and late in the run."""

    name: str
    edges: list[float]  # BINS + 1
    early: list[float]
    late: list[float]


@dataclass(frozen=True)
class Spreads:
    """What the completions of one run's training say about its rewards."""

    histograms: list[Histogram]
    names: list[str]  # of the correlations
    correlations: list[list[float | None]]  # Pearson's; None where a side never varies
    rows: int
    early: str  # the steps that are early
    late: str


def spreads(table: Table, run: int) -> Spreads | None:
    """Return the spreads of a run's training completions; None without any."""
    rows = np.flatnonzero((table.run == run) & (table.kind == KINDS.index("training")))
    if not len(rows):
        return None
    columns = {"reward": table.figures[rows, REWARD]}
    columns |= {name: table.rewards[rows, place] for place, name in enumerate(table.reward_names)}
    steps = np.unique(table.step[rows])
    count = max(1, len(steps) // SHARE)
    first, last = steps[:count], steps[-count:]
    early, late = table.step[rows] <= first[-1], table.step[rows] >= last[0]
    histograms = [_histogram(short_name(name), values, early, late) for name, values in columns.items()]
    parts = {short_name(name): values for name, values in columns.items() if name != "reward"}
    parts["length"] = table.figures[rows, TOKENS]
    return Spreads(
        [one for one in histograms if one is not None],
        list(parts),
        [[_correlation(a, b) for b in parts.values()] for a in parts.values()],
        len(rows),
        _steps(first),
        _steps(last),
    )


def _steps(steps: np.ndarray) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"


def _histogram(name: str, values: np.ndarray, early: np.ndarray, late: np.ndarray) -> Histogram | None:
    present = ~np.isnan(values)
    if not present.any():
        return None
    low, high = float(values[present].min()), float(values[present].max())
    low, high = min(low, 0.0), max(high, 1.0) if 0 <= high <= 1 else high
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    shares = []
    for side in (early, late):
        counts = np.histogram(values[present & side], edges)[0]
        shares.append((counts / max(1, counts.sum())).tolist())
    return Histogram(name, edges.tolist(), *shares)


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    both = ~np.isnan(a) & ~np.isnan(b)
    if both.sum() < 3 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return None
    return float(np.corrcoef(a[both], b[both])[0, 1])
