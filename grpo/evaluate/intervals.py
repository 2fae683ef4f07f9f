"""Intervals of a mean over tasks: tasks are what is sampled, the samples of one are not independent of each other."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

Interval = tuple[float, float]
RESAMPLES = 10_000


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (1927): for one sample a problem. (0, 1) where n is 0."""
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, got {successes} of {n}")
    if n == 0:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf(0.5 + confidence / 2), successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = max(0.0, centre - half) if successes else 0.0  # rounding must not leave a sliver
    return low, min(1.0, centre + half) if successes < n else 1.0


def bootstrap_interval(
    values: Sequence[float] | Sequence[Sequence[float]],
    confidence: float = 0.95,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean, problems drawn with replacement and all samples of one together.

    values [problems], or [problems][samples] of any lengths, of which the problem's mean is taken. Efron, 1979. The
    same seed gives the same interval. One problem alone says nothing: (nan, nan).
    """
    means = np.array([float(np.mean(value)) for value in values])
    n = len(means)
    if n < 2:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    drawn = np.concatenate(
        [means[generator.integers(0, n, (rows, n))].mean(axis=1) for rows in _in_parts(resamples, max(1, 10**6 // n))]
    )
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _in_parts(total: int, largest: int) -> list[int]:
    return [min(largest, total - start) for start in range(0, total, largest)]


def interval(task_means: Sequence[float]) -> Interval:
    """95% interval of the mean over tasks, each given as the mean of its samples.

    Wilson's where every task is wholly right or wrong, else by bootstrap. One task says nothing about others: (0, 1)
    where its mean is a share, else (nan, nan).
    """
    if all(value in (0.0, 1.0) for value in task_means):
        return wilson_interval(sum(task_means), len(task_means))
    if len(task_means) == 1:
        return (0.0, 1.0) if 0 <= task_means[0] <= 1 else (math.nan, math.nan)
    return bootstrap_interval(list(task_means))
