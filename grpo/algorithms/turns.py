"""Credit by turn: what a turn is credited with is what came after it began, compared with the same turn of its group.

return of turn k = final rewards + sum of the replies' rewards from turn k on, all weighted as the total is. Advantages
are normalised over the rollouts of a group that had a turn k, as group advantages are; a turn that only one rollout had
is credited as its trajectory is. Reward-to-go as in REINFORCE; by turns as in MT-GRPO (arXiv 2505.11821).
"""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from grpo.advantages import group_advantages
from grpo.config import Config
from grpo.types import Credit, Group, Rollout

REWARD = "environment"  # the reward that sums up what replies gave


def turn_credit(
    config: Config, groups: Sequence[Group], rewards: np.ndarray, credit: Sequence[Sequence[Credit]]
) -> list[list[Credit]]:
    """Return one advantage a token, [prompts][samples][time], 0 at the environment's; `credit` is the trajectories'."""
    return [_of_group(config, group, totals, own) for group, totals, own in zip(groups, rewards, credit, strict=True)]


def turn_returns(rollout: Rollout, total: float, weight: float) -> list[float]:
    """Return what came from each turn on, [turns]; the first is the total."""
    if rollout.dialogue is None:
        return [total]
    gave = np.array([weight * sum(turn.values()) for turn in rollout.dialogue.rewards])
    return (total - np.concatenate([[0.0], np.cumsum(gave)[:-1]])).tolist()


def _of_group(config: Config, group: Group, totals: np.ndarray, credit: Sequence[Credit]) -> list[Credit]:
    weight = config.reward_weights.get(REWARD, 0.0)
    returns = [turn_returns(r, float(total), weight) for r, total in zip(group.rollouts, totals, strict=True)]
    whole = [own[0] if isinstance(own, tuple) else float(own) for own in credit]
    found = [[own] * len(row) for own, row in zip(whole, returns, strict=True)]
    for turn in range(max(map(len, returns))):
        rows = [i for i, row in enumerate(returns) if turn < len(row) and not np.isnan(row[turn])]
        if len(rows) > 1:
            reached = mx.array([[returns[i][turn] for i in rows]])
            advantages = np.array(group_advantages(reached, scale=config.scale_rewards))[0]
            for i, value in zip(rows, advantages, strict=True):
                found[i][turn] = float(value)
    return [_by_token(rollout, row) for rollout, row in zip(group.rollouts, found, strict=True)]


def _by_token(rollout: Rollout, by_turn: Sequence[float]) -> Credit:
    if rollout.dialogue is None:
        return (by_turn[0],) * len(rollout.tokens)
    credit = [0.0] * len(rollout.tokens)
    for (begin, end), value in zip(rollout.dialogue.turns, by_turn, strict=True):
        credit[begin:end] = [value] * (end - begin)
    return tuple(credit)
