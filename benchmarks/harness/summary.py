"""Figures of a run from its items."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.harness.items import Item
from benchmarks.harness.metrics import bootstrap_interval, cons_at_k, pass_at_k, wilson_interval
from benchmarks.harness.spec import Benchmark

Problem = list[Item]  # the items of one problem


def summarise(items: Sequence[Item], benchmark: Benchmark) -> dict[str, Any]:
    """`figures` of all, and of each value of each label under `groups`."""
    problems = by_problem(items)
    groups: dict[str, dict[str, Any]] = {}
    for name in benchmark.groups:
        values = sorted({problem[0].labels[name] for problem in problems if name in problem[0].labels})
        groups[name] = {
            value: figures([p for p in problems if p[0].labels.get(name) == value], benchmark, brief=True)
            for value in values
        }
    return {"figures": figures(problems, benchmark), "groups": groups}


def by_problem(items: Sequence[Item]) -> list[Problem]:
    """The items of each problem together, in order."""
    found: dict[int, Problem] = {}
    for item in sorted(items, key=lambda one: (one.problem, one.sample)):
        found.setdefault(item.problem, []).append(item)
    return list(found.values())


def figures(problems: Sequence[Problem], benchmark: Benchmark, *, brief: bool = False) -> dict[str, Any]:
    """pass@1 with its 95% interval, every pass@k, cons@k, other rewards, truncation and lengths.

    pass@1 is the mean over samples. What has no score (an unreadable reference, a verifier that failed) is left out
    and counted as `unscored`; where scores lie between 0 and 1, mean_score is their mean. The interval is Wilson's for
    one sample a problem and where all are right or all wrong, else a bootstrap over problems.
    """
    main = benchmark.rewards[0]
    scored = [[right(item, main) for item in problem if item.scores[main] is not None] for problem in problems]
    scored = [values for values in scored if values]
    items = [item for problem in problems for item in problem]
    found: dict[str, Any] = {
        "problems": len(problems),
        "samples": max(map(len, problems), default=0),
        "unscored": len(items) - sum(map(len, scored)),
        **_pass_at_1(scored),
    }
    found |= _majority(problems, scored, main, benchmark, brief=brief)
    graded = [value for item in items if (value := item.scores[main]) is not None]
    if any(value not in (0.0, 1.0) for value in graded):
        found["mean_score"] = statistics.fmean(graded)
    for name in benchmark.rewards[1:]:
        values = [value for item in items if (value := item.scores[name]) is not None]
        if values:
            found[name] = statistics.fmean(values)
    found["truncated"] = statistics.fmean(item.stop_reason == "length" for item in items)
    found["tokens"] = statistics.fmean(item.tokens for item in items)
    found["tokens_median"] = statistics.median(item.tokens for item in items)
    thinking = [item.thinking_tokens for item in items if item.thinking_tokens is not None]
    if thinking:
        found["thinking_tokens"] = statistics.fmean(thinking)
    return found


def right(item: Item, reward: str) -> bool:
    """Return whether the item counts as solved."""
    value = item.scores[reward]
    return value is not None and value >= 1


def _pass_at_1(scored: Sequence[Sequence[bool]]) -> dict[str, Any]:
    if not scored:
        return {"pass@1": None}
    mean = statistics.fmean(statistics.fmean(values) for values in scored)
    if all(len(values) == 1 for values in scored):
        low, high = wilson_interval(sum(values[0] for values in scored), len(scored))
        method = "Wilson"
    elif mean in (0.0, 1.0):  # resampling what is all alike would claim to be certain
        low, high = wilson_interval(mean * len(scored), len(scored))
        method = "Wilson over problems"
    else:
        low, high = bootstrap_interval([[float(value) for value in values] for values in scored])
        method = "bootstrap over problems"
    if low != low:  # one problem says nothing about others
        low, high = 0.0, 1.0
    return {"pass@1": mean, "pass@1_low": low, "pass@1_high": high, "interval": f"95%, {method}"}


def _majority(
    problems: Sequence[Problem], scored: Sequence[Sequence[bool]], main: str, benchmark: Benchmark, *, brief: bool
) -> dict[str, float]:
    """pass@k for every k all problems have, cons@k for powers of two and all samples."""
    most = min(map(len, scored), default=0)
    found = {}
    for k in range(2, most + 1):
        if not brief or k == most:
            found[f"pass@{k}"] = statistics.fmean(pass_at_k(len(v), sum(v), k) for v in scored)
    if benchmark.votes:
        judged = [problem for problem in problems if any(item.scores[main] is not None for item in problem)]
        for k in sorted({2**power for power in range(1, 12) if 2**power < most} | {most}):
            if k > 1 and (not brief or k == most):
                found[f"cons@{k}"] = statistics.fmean(_vote(problem, main, k) for problem in judged)
    return found


def _vote(problem: Problem, main: str, k: int) -> float:
    votes = [item.vote for item in problem if item.scores[main] is not None]
    return cons_at_k(votes, 0, min(k, len(votes)))
