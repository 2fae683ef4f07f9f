"""One step's groups with their rewards; with dynamic sampling until the batch is full of groups that teach.

Dynamic sampling is DAPO's (arXiv 2503.14476): groups whose rewards are all equal have advantage 0 everywhere; they are
dropped and the next tasks take their places. A step draws at most `dynamic_sampling_rounds` times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from grpo.algorithms.seams import GroupFilter
from grpo.config import Config
from grpo.rollout.order import OrderState, PromptOrder
from grpo.rollout.replay import Replay
from grpo.rollout.stream import StreamOrder
from grpo.scoring import GroupScores, coin_flips, totals
from grpo.types import Group, Prompt

# Prompts, how many of the step were sampled before them, the order's state before them -> groups and rewards in order.
Sample = Callable[[Sequence[Prompt], int, OrderState], tuple[list[Group], list[GroupScores]]]


@dataclass(frozen=True)
class Batch:
    """The groups a step learns from."""

    groups: list[Group]
    scored: list[GroupScores]
    rewards: np.ndarray  # [prompts, samples], NaN where a completion has none
    order: OrderState  # after the step
    metrics: dict[str, float]
    said: str | None = None  # what the user should know


def has_spread(group: Group, rewards: Sequence[float | None]) -> bool:
    """Return whether a group's rewards differ, so that some of its advantages are not 0."""
    present = {reward for reward in rewards if reward is not None}
    return len(present) > 1


class Filling:
    """Draws the groups of a step."""

    def __init__(self, config: Config, order: PromptOrder | StreamOrder, keep: GroupFilter | None) -> None:
        """`keep` decides which groups dynamic sampling keeps; None = those with spread."""
        self.config, self.order, self.keep = config, order, keep or has_spread
        self.replay = Replay(config)

    def fill(self, state: OrderState, step: int, sample: Sample) -> Batch:
        """Sample the groups of a step; `state` is where the order stood before it."""
        size, wanted = self.config.prompts_per_step, self.config.dynamic_sampling
        kept: list[tuple[Group, GroupScores, np.ndarray]] = []
        last: list[tuple[Group, GroupScores, np.ndarray]] = []
        rates: dict[int, float] = {}
        drawn = rounds = replayed = 0
        while len(kept) < size and rounds < (self.config.dynamic_sampling_rounds if wanted else 1):
            at = state
            places, state = self.order.take(state, size - len(kept), step)
            groups, scored = sample([self.order.prompts[place] for place in places], drawn, at)
            if self.config.replay_size:
                found = self.replay.apply(state.successes, places, groups, scored)
                groups, scored, state = found[0], found[1], replace(state, successes=found[2])
                replayed += found[3]
            rewards = self._rewards(scored, step, rounds)
            last = list(zip(groups, scored, rewards, strict=True))
            kept += [item for item in last if not wanted or self.keep(item[0], _values(item[2]))]
            rates |= {place: rate for place, one in zip(places, scored, strict=True) if (rate := self.rate(one)) >= 0}
            drawn, rounds = drawn + len(places), rounds + 1
        if self.follows_rates:
            state = self.order.learned(state, rates)
        chosen = kept or last
        return Batch(
            [group for group, _, _ in chosen],
            [scores for _, scores, _ in chosen],
            np.array([row for _, _, row in chosen], dtype=np.float32),
            state,
            (self._metrics(drawn, rounds, len(kept)) if wanted else {})
            | ({"replay/used": float(replayed)} if self.config.replay_size else {}),
            self._said(rounds, len(kept)) if wanted and len(kept) < size else None,
        )

    @property
    def follows_rates(self) -> bool:
        """Return whether pass rates decide which tasks are sampled."""
        return self.config.curriculum_mastered is not None or self.config.curriculum_hopeless is not None

    def rate(self, scores: GroupScores) -> float:
        """Return the share of the completions that pass, the mean of pass_reward; -1 where the group has none."""
        values = [value for value in scores.values.get(self.config.pass_reward, []) if value is not None]
        return float(np.mean(values)) if values else -1.0

    def _rewards(self, scored: Sequence[GroupScores], step: int, rounds: int) -> np.ndarray:
        if self.config.control == "random_reward":
            return coin_flips(self.config, step, rounds)[: len(scored)]
        return totals(scored)

    def _metrics(self, drawn: int, rounds: int, kept: int) -> dict[str, float]:
        return {
            "dynamic_sampling/dropped": float(drawn - kept),
            "dynamic_sampling/rounds": float(rounds),
            "dynamic_sampling/missing": float(self.config.prompts_per_step - kept),
        }

    def _said(self, rounds: int, kept: int) -> str:
        learned = f"the step learns from {kept}" if kept else "the step learns nothing"
        return (
            f"dynamic sampling: {kept} of {self.config.prompts_per_step} groups have differing rewards after "
            f"{rounds} rounds (dynamic_sampling_rounds): {learned}"
        )


def _values(rewards: np.ndarray) -> list[float | None]:
    return [None if np.isnan(reward) else float(reward) for reward in rewards]
