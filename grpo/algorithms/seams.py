"""Objects that a caller in Python may put in place of what a config names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grpo.rollout.source import RolloutSource
from grpo.types import AdvantageFunction, Group, LossFunction

GroupFilter = Callable[[Group, Sequence["float | None"]], bool]  # a group and its rewards: whether it is learned from
StepCallback = Callable[[int, dict[str, float]], None]  # steps done and the step's metrics


@dataclass(frozen=True)
class Seams:
    """Functions that replace those of the config; None = the config's."""

    loss_fn: LossFunction | None = None
    advantage_fn: AdvantageFunction | None = None
    group_filter: GroupFilter | None = None
    rollout_fn: RolloutSource | None = None
    callbacks: tuple[StepCallback, ...] = ()
