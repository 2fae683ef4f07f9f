"""Credit by turn, with the arithmetic."""

import math

import numpy as np
import pytest

from grpo.algorithms.turns import turn_credit, turn_returns
from grpo.types import Dialogue, Group, Rollout


def rollout(*gave):
    """Turns of two tokens with one of the environment's between them; what each reply gave."""
    turns = tuple((3 * i, 3 * i + 2) for i in range(len(gave)))
    tokens = tuple(range(3 * len(gave) - 1))
    mask = tuple(int(t % 3 != 2) for t in tokens)
    rewards = tuple({"r": value} for value in gave)
    return Rollout(
        tokens, (0.0,) * len(tokens), (0.0,) * len(tokens), "", "stop", mask, Dialogue((), turns, rewards, "done")
    )


def test_the_return_of_a_turn_is_what_came_after_it_began():
    # weight 2: the replies gave 2, 0 and 4 of a total of 7; the last 1 is a final reward
    assert turn_returns(rollout(1.0, 0.0, 2.0), 7.0, 2.0) == [7.0, 5.0, 5.0]


def test_turns_are_compared_with_the_same_turn_of_their_group(tiny):
    group = Group(tiny.prompt([11]), (rollout(0.0, 1.0), rollout(0.0, 0.0), rollout(1.0), rollout(0.0, 0.0, 0.0)))
    totals = np.array([[1.0, 0.0, 1.0, 0.0]], dtype=np.float32)
    config = tiny.config(reward_weights={"environment": 1.0}, credit="turn", scale_rewards="none")
    (credit,) = turn_credit(config, [group], totals, [[0.5, -0.5, 0.5, -0.5]])
    # turn 1: returns 1, 0, 1, 0, mean 1/2; turn 2: 1, 0, 0 of the first, second and last, mean 1/3; the third is
    # the last one's alone: its trajectory's
    assert credit[0] == pytest.approx((0.5, 0.5, 0.0, 2 / 3, 2 / 3))
    assert credit[1] == pytest.approx((-0.5, -0.5, 0.0, -1 / 3, -1 / 3))
    assert credit[2] == pytest.approx((0.5, 0.5))
    assert credit[3] == pytest.approx((-0.5, -0.5, 0.0, -1 / 3, -1 / 3, 0.0, -0.5, -0.5))


def test_a_rollout_without_a_reward_is_left_out(tiny):
    group = Group(tiny.prompt([11]), (rollout(0.0), rollout(1.0), rollout(0.0)))
    config = tiny.config(reward_weights={"environment": 1.0}, credit="turn", scale_rewards="none")
    (credit,) = turn_credit(config, [group], np.array([[0.0, 1.0, math.nan]]), [[-0.5, 0.5, 0.0]])
    assert credit == [(-0.5, -0.5), (0.5, 0.5), (0.0, 0.0)]


def test_without_replies_rewards_every_turn_has_the_trajectorys_advantage(tiny):
    group = Group(tiny.prompt([11]), (rollout(0.0, 0.0), rollout(0.0, 0.0)))
    config = tiny.config(reward_weights={"accuracy": 1.0}, credit="turn", scale_rewards="none")
    (credit,) = turn_credit(config, [group], np.array([[1.0, 0.0]]), [[0.5, -0.5]])
    assert credit == [(0.5, 0.5, 0.0, 0.5, 0.5), (-0.5, -0.5, 0.0, -0.5, -0.5)]
