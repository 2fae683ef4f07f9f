"""Replay of rare successes: a task that was solved once in many attempts gives its solution again when all fail.

The kept completion takes the place of the group's last one, with the logprobs of the policy that sampled it, so that
the ratio of the loss corrects for the policy having moved on since. Ideas of RePO (arXiv 2506.09340).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from grpo.config import Config
from grpo.scoring import GroupScores
from grpo.types import Group, Rollout

PASSES = 0.5  # of pass_reward, from which on a completion is a success


class Replay:
    """Keeps successes and puts them into groups without any; `kept` is plain values: place of a task -> record."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def apply(
        self, kept: Mapping[str, Any], places: Sequence[int], groups: Sequence[Group], scored: Sequence[GroupScores]
    ) -> tuple[list[Group], list[GroupScores], dict[str, Any], int]:
        """Return the groups and rewards with successes put in, what is kept now, and how many were put in."""
        found, values, now, used = list(groups), list(scored), dict(kept), 0
        for i, (place, group, scores) in enumerate(zip(places, groups, scored, strict=True)):
            passes = [value is not None and value >= PASSES for value in scores.values.get(self.config.pass_reward, [])]
            if any(rollout.dialogue is not None for rollout in group.rollouts) or not passes:
                continue
            if not any(passes) and (record := now.get(str(place))) is not None:
                found[i], values[i] = _put_in(group, scores, record)
                used += 1
            elif 0 < sum(passes) <= self.config.replay_below * len(passes):
                now.pop(str(place), None)  # the newest last
                now[str(place)] = _record(group.rollouts[passes.index(True)], scores, passes.index(True))
        while len(now) > self.config.replay_size:
            now.pop(next(iter(now)))
        return found, values, now, used


def _record(rollout: Rollout, scores: GroupScores, sample: int) -> dict[str, Any]:
    """Return a completion and its rewards as plain values."""
    return {
        "rollout": asdict(rollout),
        "total": scores.totals[sample],
        "values": {name: values[sample] for name, values in scores.values.items()},
        "counted": {name: values[sample] for name, values in scores.counted.items()},
    }


def _put_in(group: Group, scores: GroupScores, record: Mapping[str, Any]) -> tuple[Group, GroupScores]:
    """Replace the last completion of a group."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record["rollout"].items()
    }
    values = {name: [*old[:-1], record["values"].get(name)] for name, old in scores.values.items()}
    counted = {name: [*old[:-1], record["counted"].get(name)] for name, old in scores.counted.items()}
    return (
        replace(group, rollouts=(*group.rollouts[:-1], Rollout(**given))),
        replace(scores, values=values, counted=counted, totals=[*scores.totals[:-1], record["total"]]),
    )
