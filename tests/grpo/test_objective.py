"""The loss of a config and the sums its metrics are made of."""

import math

import mlx.core as mx
import pytest

from grpo.objective import Objective
from grpo.reduce import StepCounts
from grpo.types import LossInputs

POLICY = mx.array([[math.log(1.5), 0.0], [math.log(0.5), 9.0]])  # ratios 1.5, 1 | 0.5, masked


def inputs_of(objective, reference_logprobs=None):
    return LossInputs(
        policy_logprobs=POLICY,
        sampler_logprobs=mx.zeros((2, 2)),
        reference_logprobs=reference_logprobs,
        advantages=mx.array([2.0, -2.0]),
        mask=mx.array([[1.0, 1.0], [1.0, 0.0]]),
        config=objective.config,
    )


def test_the_loss_is_clipped_and_divided_by_the_denominator(tiny):
    objective = Objective(tiny.config(loss_type="dapo", beta=0.0, epsilon=0.2, epsilon_high=0.2))
    # -(min(3, 1.2 * 2) + 2 + min(-1, -1.6)) / 4 = -(2.4 + 2 - 1.6) / 4
    loss, _ = objective(inputs_of(objective), StepCounts(sequences=2, tokens=4))
    assert loss.item() == pytest.approx(-0.7)


def test_metric_sums_leave_masked_tokens_out(tiny):
    objective = Objective(tiny.config(loss_type="dapo", beta=0.1, epsilon=0.2, epsilon_high=0.2))
    sums = objective.sums(inputs_of(objective, mx.zeros((2, 2))))
    away = [-math.log(1.5), -math.log(0.5)]
    k3 = sum(math.exp(x) - x - 1 for x in away)  # the token of ratio 1 adds 0
    assert {name: value.item() for name, value in sums.items()} == {
        "tokens": 3,
        "clip_low": 1,  # 0.5 < 0.8, advantage below 0
        "clip_high": 1,  # 1.5 > 1.2, advantage above 0
        "difference": pytest.approx(math.log(1.5) + math.log(2)),
        "mismatch_k3": pytest.approx(k3),
        "kl": pytest.approx(k3),
    }


def test_the_counts_leave_masked_truncated_completions_out(tiny):
    groups = [tiny.group([11], [[41, 42, 2], [51, 52]])]  # 3 tokens with a stop, 2 without
    for masked, counts in ((False, StepCounts(2, 5)), (True, StepCounts(1, 3))):
        config = tiny.config(loss_type="dapo", mask_truncated_completions=masked)
        assert Objective(config).counts(groups) == counts
