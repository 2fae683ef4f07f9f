"""How often each task is solved, over the steps."""

from dataclasses import dataclass

import numpy as np

from grpo.report.table import KINDS, REWARD, Table

COLUMNS = 8  # ranges of steps
MOST_TASKS = 24


@dataclass(frozen=True)
class TaskRow:
    """One task: its rate in every range of steps, None where it was not sampled."""

    task: str
    rates: list[float | None]


@dataclass(frozen=True)
class PassRates:
    """The tasks of one run and kind that were sampled most often."""

    kind: str
    measure: str  # the reward the rates are means of
    columns: list[str]  # the ranges of steps
    rows: list[TaskRow]
    left_out: int  # tasks


def pass_rates(table: Table, run: int) -> list[PassRates]:
    """The rates in training and on held-out tasks; nothing where there are no completions or only one step."""
    found = [_rates(table, run, kind) for kind in ("training", "held out")]
    return [rates for rates in found if rates is not None]


def measure_of(table: Table) -> tuple[str, np.ndarray]:
    """Return the reward that says whether an answer is right, else the weighted sum: its name and values, [rows]."""
    for name in table.reward_names:
        if "accuracy" in name or "correct" in name:
            return name, table.reward(name)
    return "reward", np.asarray(table.figures[:, REWARD])


def _rates(table: Table, run: int, kind: str) -> PassRates | None:
    name, values = measure_of(table)
    rows = np.flatnonzero((table.run == run) & (table.kind == KINDS.index(kind)) & ~np.isnan(values))
    steps = np.unique(table.step[rows])
    if len(steps) < 2:
        return None
    ranges = np.array_split(steps, min(COLUMNS, len(steps)))
    column = np.searchsorted([part[-1] for part in ranges], table.step[rows])
    numbers: dict[str, int] = {}
    task = np.array([numbers.setdefault(table.tasks[row], len(numbers)) for row in rows])
    counts, sums = np.zeros((len(numbers), len(ranges))), np.zeros((len(numbers), len(ranges)))
    np.add.at(counts, (task, column), 1)
    np.add.at(sums, (task, column), values[rows])
    rates = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    order = np.lexsort((-counts.sum(1), -(counts > 0).sum(1)))[:MOST_TASKS]
    names = list(numbers)
    found = [TaskRow(names[i], [None if np.isnan(rate) else float(rate) for rate in rates[i]]) for i in order]
    columns = [f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in ranges]
    return PassRates(kind, name, columns, found, len(numbers) - len(found))
