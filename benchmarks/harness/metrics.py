"""Figures of a benchmark: pass@k, majority votes, intervals, and the comparison of two runs. Numbers in, numbers out.

Problems are what is sampled from a population; the K samples of one problem are not independent of each other.
Intervals and tests here are therefore over problems, each represented by its mean over samples.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from grpo.evaluate.intervals import Interval, bootstrap_interval
from grpo.evaluate.intervals import wilson_interval as wilson_interval

FINEST, COARSE = 10_000, 1_000  # denominators of differences: exact up to the first, else rounded to the second


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that at least one of k samples is right, unbiased: 1 - C(n - c, k) / C(n, k).

    Chen et al., arXiv 2107.03374, equation 1. n samples of which c are right; 1 <= k <= n. pass@1 is c / n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    every = math.comb(n, k)
    return (every - math.comb(n - c, k)) / every


def cons_at_k(answers: Sequence[Hashable | None], correct_key: Hashable | None, k: int | None = None) -> float:
    """Probability that the majority vote of k of these samples is right; k None = all of them.

    answers [samples]: the equivalence class of each sample's answer, None = none given, which casts no vote. Of the
    classes with most votes each wins with the same probability, so a tie of t counts 1 / t. The mean is over all
    C(n, k) choices of k samples, worked out exactly. 0 where nobody votes or `correct_key` is None.
    """
    n = len(answers)
    k = n if k is None else k
    if not 1 <= k <= n:
        raise ValueError(f"cons@k needs 1 <= k <= number of samples, got k={k}, samples={n}")
    votes = Counter(answer for answer in answers if answer is not None)
    right = votes.pop(correct_key, 0) if correct_key is not None else 0
    silent = n - right - sum(votes.values())
    won = Fraction(0)
    for mine in range(1, min(right, k) + 1):
        for (taken, ties), ways in _at_most(list(votes.values()), mine, k - mine).items():
            won += Fraction(math.comb(right, mine) * ways * math.comb(silent, k - mine - taken), ties + 1)
    return float(won / math.comb(n, k))


def _at_most(classes: Sequence[int], limit: int, room: int) -> dict[tuple[int, int], int]:
    """(votes taken, classes with exactly `limit` of them) -> ways, where no class has more than `limit` votes."""
    ways = {(0, 0): 1}
    for size in classes:
        more: dict[tuple[int, int], int] = {}
        for (taken, ties), count in ways.items():
            for votes in range(min(size, limit, room - taken) + 1):
                key = (taken + votes, ties + (votes == limit))
                more[key] = more.get(key, 0) + count * math.comb(size, votes)
        ways = more
    return ways


@dataclass(frozen=True)
class Paired:
    """Second minus first over the problems both have."""

    problems: int
    difference: float
    interval: Interval  # bootstrap over problems, 95%
    p_value: float  # two-sided, of no difference
    better: int  # problems on which the second is better
    worse: int


def paired_comparison(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compare two runs on the same problems by the sign-flip test; [problems] each, means over samples.

    If the runs don't differ, each problem's difference is as likely to have the other sign. The p-value is the share
    of all 2^n sign patterns whose sum is at least as far from 0 as the one seen, counted exactly (no sampling). With
    one sample a problem this is McNemar's exact test. Identical runs give p = 1.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"a paired comparison needs the same problems in both runs, got {len(first)}, {len(second)}")
    differences = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    return Paired(
        problems=len(first),
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences.tolist()),
        p_value=_sign_flip(differences.tolist()),
        better=int((differences > 1e-12).sum()),
        worse=int((differences < -1e-12).sum()),
    )


def _sign_flip(differences: Sequence[float]) -> float:
    steps = [abs(step) for step in _on_a_grid(differences)]
    total, seen = sum(steps), abs(sum(_on_a_grid(differences)))
    chances = np.zeros(2 * total + 1)  # of each sum, from -total to total
    chances[total] = 1.0
    for step in steps:
        if step:
            chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2
    return float(min(1.0, chances[: total - seen + 1].sum() + chances[total + seen :].sum()))


def _on_a_grid(values: Sequence[float]) -> list[int]:
    """Multiples of a common unit: the differences of means over K samples are multiples of 1 / K."""
    fractions = [Fraction(value).limit_denominator(FINEST) for value in values]
    unit = math.lcm(*(fraction.denominator for fraction in fractions))
    return [int(fraction * unit) for fraction in fractions] if unit <= FINEST else [round(v * COARSE) for v in values]
