"""The metrics of each reward."""

import math

import numpy as np
import pytest

from grpo.metrics import _std, reward_metrics
from grpo.scoring import GroupScores


def test_reward_metrics_count_present_values_and_failures():
    no_format = [None, None]
    first = GroupScores({"accuracy": [1.0, 0.0], "format": no_format}, [1.0, 0.0], {"accuracy/timeout": 1}, {})
    second = GroupScores({"accuracy": [1.0, None], "format": no_format}, [1.0, None], {"accuracy/timeout": 2}, {})
    # mean of 1, 0, 1 = 2/3; variance ((1/3)^2 + (2/3)^2 + (1/3)^2) / 2 = 1/3
    assert reward_metrics([first, second]) == {
        "rewards/accuracy/mean": pytest.approx(2 / 3),
        "rewards/accuracy/std": pytest.approx(math.sqrt(1 / 3)),
        "rewards/accuracy/min": 0.0,
        "rewards/accuracy/max": 1.0,
        "rewards/accuracy/zero_std": 0.5,  # the second group holds one value
        "rewards/accuracy/missing": 0.25,
        "rewards/failed/accuracy/timeout": 3.0,
    }


def test_reward_metrics_hold_the_share_that_was_gated_or_clipped():
    applied = {"accuracy/gated": 1, "short/clipped": 2}
    group = GroupScores({"accuracy": [1.0, 1.0]}, [1.0, 0.0], {}, {}, {"accuracy": [1.0, 0.0]}, applied)
    metrics = reward_metrics([group, GroupScores({"accuracy": [1.0, 1.0]}, [1.0, 1.0], {}, {})])
    assert (metrics["rewards/accuracy/gated"], metrics["rewards/short/clipped"]) == (0.25, 0.5)


def test_equal_rewards_have_no_spread_though_their_mean_is_rounded():
    equal = np.full(12, 8 / 27, dtype=np.float32)
    assert np.std(equal, ddof=1) > 0  # the mean of twelve is off by a rounding
    assert _std(equal) == 0.0
    assert _std(np.array([1.0, 0.0, 0.0, 0.0])) == 0.5  # (9 + 1 + 1 + 1) / 16 / 3 = 1/4
    assert _std(np.array([1.0])) == 0.0
