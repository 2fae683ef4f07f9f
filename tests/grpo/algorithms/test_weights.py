"""Corrections for tokens that another policy sampled, against float64."""

import math

import mlx.core as mx
import numpy as np
import pytest

from grpo.algorithms.weights import importance_weights, off_policy_mask
from grpo.losses import policy_loss
from grpo.objective import Objective
from grpo.reduce import StepCounts
from grpo.types import LossInputs

MASK = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1]])  # the last row has a hole


def arrays(seed):
    random = np.random.default_rng(seed)
    policy, sampler, reference = random.uniform(-3, -0.1, (3, 3, 4))
    garbage = np.where(MASK == 1, 0.0, np.nan)
    return policy + garbage, sampler + garbage, reference + garbage, random.normal(0, 1, 3)


def bounded(weight, mode, cap, floor):
    if "truncate" in mode:
        return min(max(weight, floor), cap)
    return weight if floor <= weight <= cap else 0.0


@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
@pytest.mark.parametrize(("cap", "floor"), [(2.0, None), (1.5, 0.5)])
def test_importance_weights(mode, cap, floor):
    policy, sampler, _, _ = arrays(0)
    found = importance_weights(mx.array(policy), mx.array(sampler), mx.array(MASK), mode=mode, cap=cap, floor=floor)
    for row in range(3):
        for column in range(4):
            if not MASK[row, column]:
                assert found[row, column].item() == 1.0
                continue
            chosen = [column] if "token" in mode else np.flatnonzero(MASK[row])
            weight = math.exp(sum(policy[row, c] - sampler[row, c] for c in chosen))
            assert found[row, column].item() == pytest.approx(bounded(weight, mode, cap, floor or 0.0), rel=1e-5)


def test_off_policy_mask_drops_bad_sequences_that_became_unlikely():
    # means of sampler - policy: 1.0 (bad), 1.0 (good), 0.4 (bad); threshold 0.5
    policy = mx.array([[-2.0, -2.0], [-2.0, -2.0], [-1.4, -9.0]])
    sampler = mx.array([[-1.0, -1.0], [-1.0, -1.0], [-1.0, 5.0]])
    mask = mx.array([[1, 1], [1, 1], [1, 0]])
    advantages = mx.array([[-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    kept = off_policy_mask(policy, sampler, advantages, mask, threshold=0.5)
    assert kept.tolist() == [[0, 0], [1, 1], [1, 1]]


def objective_value(tiny, seed, proximal=None, **settings):
    policy, sampler, reference, advantages = (mx.array(a.astype(np.float32)) for a in arrays(seed))
    objective = Objective(tiny.config(beta=0.1, **settings))

    def loss(policy):
        inputs = LossInputs(
            policy, sampler, reference, advantages, mx.array(MASK), objective.config, proximal_logprobs=proximal
        )
        return objective(inputs, StepCounts(3, int(MASK.sum())))[0]

    value, gradient = mx.value_and_grad(loss)(policy)
    return value.item(), np.array(gradient)


@pytest.mark.parametrize("mode", ["token_truncate", "sequence_mask"])
def test_a_corrected_loss_is_weight_times_ratio_to_the_start_of_the_step(tiny, mode):
    # float64, by hand: loss_t = -w_t * min(r A, clip(r) A) + beta k3, r against proximal, w = proximal / sampler
    policy, sampler, reference, advantages = arrays(1)
    proximal = policy + 0.3 * np.sin(np.arange(12)).reshape(3, 4)
    value, gradient = objective_value(
        tiny, 1, mx.array(proximal.astype(np.float32)), importance_sampling_cap=1.5, importance_sampling_mode=mode
    )

    def oracle(policy):
        total = 0.0
        for row in range(3):
            columns, losses = np.flatnonzero(MASK[row]), []
            for column in columns:
                chosen = [column] if "token" in mode else columns
                weight = bounded(math.exp(sum(proximal[row, c] - sampler[row, c] for c in chosen)), mode, 1.5, 0.0)
                ratio = math.exp(policy[row, column] - proximal[row, column])
                surrogate = min(ratio * advantages[row], min(max(ratio, 0.8), 1.2) * advantages[row])
                away = reference[row, column] - policy[row, column]
                losses.append(-weight * surrogate + 0.1 * (math.exp(away) - away - 1))
            total += np.mean(losses)
        return total / 3

    assert value == pytest.approx(oracle(policy), rel=1e-5)
    for row, column in zip(*np.nonzero(MASK), strict=True):
        step = np.zeros_like(policy)
        step[row, column] = 1e-6
        expected = (oracle(policy + step) - oracle(policy - step)) / 2e-6
        assert gradient[row, column] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert (gradient[MASK == 0] == 0).all()


def test_where_the_sampler_is_the_policy_a_correction_changes_nothing():
    logprobs, mask = mx.array([[-1.0, -2.0]]), mx.ones((1, 2))
    weights = importance_weights(logprobs, logprobs, mask, mode="sequence_truncate", cap=1.0)
    assert weights.tolist() == [[1.0, 1.0]]
    loss = policy_loss(logprobs, logprobs, weights, mask, loss_type="grpo")
    assert loss.item() == -1.0


def test_the_unbiased_kl_is_weighed_by_the_ratio(tiny):
    policy, sampler, reference, _ = arrays(2)
    plain, _ = objective_value(tiny, 2)
    weighed, _ = objective_value(tiny, 2, use_bias_correction_kl=True)
    away, ratio = reference - policy, np.exp(policy - sampler)
    k3 = np.exp(away) - away - 1
    rows = [np.nanmean(np.where(MASK == 1, (ratio - 1) * k3, np.nan)[row]) for row in range(3)]
    assert weighed - plain == pytest.approx(0.1 * np.mean(rows), rel=1e-3)


def test_kl_cov_holds_penalised_tokens_to_the_sampler(tiny):
    policy, sampler, _, _ = (mx.array(np.nan_to_num(a).astype(np.float32)) for a in arrays(3))
    objective = Objective(tiny.config(beta=0.0, covariance="kl_cov", covariance_kl_coef=2.0, loss_type="dapo"))
    penalised = mx.zeros(MASK.shape).at[0, 1].add(1.0)
    inputs = LossInputs(policy, sampler, None, mx.zeros((3,)), mx.array(MASK), objective.config, penalised=penalised)
    expected = 2.0 * abs((policy - sampler)[0, 1].item()) / MASK.sum()
    assert objective(inputs, StepCounts(3, int(MASK.sum())))[0].item() == pytest.approx(expected, rel=1e-5)
