"""What the rules look at: a run's settings, its metrics step by step, and samples of its completions. Needs no mlx."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

Metrics = dict[str, float]

TASK_REWARDS = frozenset({
    "accuracy", "accuracy_lenient", "code", "environment", "equations", "judge", "accuracy_reward",
    "reasoning_accuracy_reward", "code_reward",
})  # fmt: skip
FORM_REWARDS = frozenset({
    "format", "format_similarity", "format_tag_count", "language", "len", "overlong", "reasoning_steps", "repetition",
    "cosine", "think_format_reward", "format_reward", "tag_count_reward", "reasoning_steps_reward", "len_reward",
    "get_code_format_reward", "get_cosine_scaled_reward", "get_repetition_penalty_reward",
    "get_soft_overlong_punishment",
})  # fmt: skip
FORMATS = (
    "format",
    "format_similarity",
    "format_tag_count",
    "think_format_reward",
    "format_reward",
    "tag_count_reward",
)
ACCURACIES = ("accuracy", "accuracy_reward", "reasoning_accuracy_reward", "accuracy_lenient")


@dataclass(frozen=True)
class Sample:
    """One completion of a saved group."""

    step: int
    task: str
    prompt: str
    text: str
    gold: str | None
    rewards: Mapping[str, float | None]
    reward: float | None
    tokens: int
    stop_reason: str
    last_token: str = ""  # its text


@dataclass(frozen=True)
class Evidence:
    """A run as far as it is known; without samples (a run that is watched live) the rules of texts find nothing."""

    settings: Mapping[str, Any]  # the resolved config
    steps: Sequence[Metrics]  # finite values by metric name, in order; "step" is among them
    samples: Sequence[Sample] = ()  # of steps spread over the run
    held_out: Mapping[int, Sequence[Sample]] = field(default_factory=dict)  # step -> sampled held-out completions
    greedy: Mapping[int, Sequence[Sample]] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # before, after
    log: str = ""

    def setting(self, name: str, otherwise: Any = None) -> Any:
        """Return a config key, dots reaching into sections."""
        value: Any = self.settings
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return otherwise if value is None else value

    def number(self, name: str, otherwise: float = 0.0) -> float:
        """Return a config key that is a number."""
        value = self.setting(name)
        return float(value) if isinstance(value, int | float) else otherwise

    @property
    def count(self) -> int:
        """Steps seen."""
        return len(self.steps)

    @property
    def supervised(self) -> bool:
        """Return whether the run samples nothing and has no rewards."""
        return not any(name.startswith(("reward", "completions/")) for step in self.steps for name in step)

    @property
    def width(self) -> int:
        """Steps that the means at the start and the end of the run are taken over."""
        return 1 if self.count < 6 else 3 if self.count < 15 else 5

    def values(self, name: str) -> list[float]:
        """Return a metric's values in order, of the steps that have it."""
        return [step[name] for step in self.steps if name in step]

    def start(self, name: str) -> float | None:
        """Return the mean over the first steps; None without the metric."""
        return mean(self.values(name)[: min(self.width, 3)])

    def end(self, name: str) -> float | None:
        """Return the mean over the last steps; None without the metric."""
        return mean(self.values(name)[-self.width :])

    def best(self, name: str) -> float | None:
        """Return the highest mean of as many neighbouring steps as `end` takes."""
        values, width = self.values(name), self.width
        if len(values) < width:
            return None
        return max(statistics.fmean(values[i : i + width]) for i in range(len(values) - width + 1))

    def highest(self, name: str) -> float | None:
        """Return the best mean, or the very first value: a run can be broken by its first update."""
        best, values = self.best(name), self.values(name)
        return best if best is None else max(best, values[0])

    def peak(self, name: str) -> float | None:
        """Return the highest value."""
        return max(self.values(name), default=None)

    def gain(self, name: str) -> float | None:
        """Return the end minus the start; None without the metric."""
        start, end = self.start(name), self.end(name)
        return None if start is None or end is None else end - start

    def noise(self, name: str) -> float:
        """Return the standard error of `gain`, from how much neighbouring steps differ."""
        values = self.values(name)
        if len(values) < 3:
            return float("inf")
        jumps = [b - a for a, b in pairwise(values)]
        deviation = statistics.pstdev(jumps) / 2**0.5  # a difference has the variance of two steps
        return deviation * (1 / min(self.width, 3) + 1 / self.width) ** 0.5

    @cached_property
    def weights(self) -> dict[str, float]:
        """Rewards that are paid, by name."""
        given = self.setting("reward_weights", {})
        return {name: float(weight) for name, weight in given.items() if weight}

    @cached_property
    def accuracy(self) -> str | None:
        """Name of the reward that says whether a task was done, measured or paid; None where there is none."""
        measured = self.setting("reward_weights", {})
        named = [name for name in (*ACCURACIES, *sorted(TASK_REWARDS)) if name in measured]
        return named[0] if named else None

    @property
    def accuracy_metric(self) -> str:
        """The metric of `accuracy`."""
        return f"rewards/{self.accuracy}/mean"

    @cached_property
    def spread(self) -> float:
        """Share of groups with different rewards, over the run; 0 where it is not known."""
        equal = mean(self.values("frac_reward_zero_std"))
        return 0.0 if equal is None else 1 - equal

    @property
    def spread_at_end(self) -> float:
        """Share of groups with different rewards at the end; 1 where it is not known."""
        equal = self.end("frac_reward_zero_std")
        return 1.0 if equal is None else 1 - equal

    @cached_property
    def first(self) -> list[Sample]:
        """Samples of the first saved step."""
        steps = sorted({sample.step for sample in self.samples})
        return [sample for sample in self.samples if sample.step in steps[:1]]

    @cached_property
    def last(self) -> list[Sample]:
        """Samples of the last saved step; empty where only one was saved and it is the first of several."""
        steps = sorted({sample.step for sample in self.samples})
        return [sample for sample in self.samples if sample.step in steps[-1:]]

    @cached_property
    def saved_span(self) -> int:
        """Steps between the first and the last saved samples."""
        steps = {sample.step for sample in self.samples}
        return max(steps) - min(steps) if steps else 0


def mean(values: Iterable[float]) -> float | None:
    """Return the mean; None of nothing."""
    listed = list(values)
    return statistics.fmean(listed) if listed else None


def share(flags: Iterable[bool]) -> float:
    """Return the share that is true; 0 of nothing."""
    return mean(float(flag) for flag in flags) or 0.0


def groups_of(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Return the samples by step and task, groups of one left out."""
    groups: dict[tuple[int, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.step, sample.task), []).append(sample)
    return [group for group in groups.values() if len(group) > 1]


def correlation(pairs: Iterable[Sequence[tuple[float, float]]]) -> tuple[float, int]:
    """Return Pearson's correlation of two quantities within groups, and how many groups have both vary.

    Each group's means are taken off first, so that easy and hard tasks do not make one.
    """
    xs: list[float] = []
    ys: list[float] = []
    varied = 0
    for group in pairs:
        if len(group) < 2:
            continue
        x_mean, y_mean = statistics.fmean(x for x, _ in group), statistics.fmean(y for _, y in group)
        own = [(x - x_mean, y - y_mean) for x, y in group]
        varied += any(abs(x) > 1e-9 for x, _ in own) and any(abs(y) > 1e-9 for _, y in own)
        xs += [x for x, _ in own]
        ys += [y for _, y in own]
    scale = (sum(x * x for x in xs) * sum(y * y for y in ys)) ** 0.5
    return (sum(x * y for x, y in zip(xs, ys, strict=True)) / scale if scale > 1e-12 else 0.0), varied
