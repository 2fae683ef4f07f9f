import math

import mlx.core as mx
import numpy as np
import pytest

from grpo.ratios import sequence_ratio, token_ratio


def test_token_ratio_is_the_quotient_of_the_probabilities():
    # 0.5 / 0.25 = 2 and 0.1 / 0.4 = 0.25
    policy, sampler = mx.log(mx.array([[0.5, 0.1]])), mx.log(mx.array([[0.25, 0.4]]))
    assert token_ratio(policy, sampler).tolist()[0] == pytest.approx([2.0, 0.25])


def test_sequence_ratio_is_the_geometric_mean_over_trained_tokens():
    # token ratios 2, 8 and an untrained 100: sqrt(2 * 8) = 4; second row: 1/2 alone
    policy = mx.log(mx.array([[2.0, 8.0, 100.0], [0.5, 100.0, 100.0]]))
    mask = mx.array([[1, 1, 0], [1, 0, 0]])
    ratio = sequence_ratio(policy, mx.zeros((2, 3)), mask)
    np.testing.assert_allclose(np.array(ratio), [[4, 4, 4], [0.5, 0.5, 0.5]], rtol=1e-6)


def test_sequence_ratio_of_a_masked_row_is_one():
    policy = mx.array([[math.nan, math.inf]])
    assert sequence_ratio(policy, mx.zeros((1, 2)), mx.zeros((1, 2))).tolist() == [[1.0, 1.0]]


def test_token_ratio_gradient_is_the_ratio():
    gradient = mx.grad(lambda p: token_ratio(p, mx.array([-1.0, -2.0])).sum())(mx.array([-0.5, -2.5]))
    assert gradient.tolist() == pytest.approx([math.exp(0.5), math.exp(-0.5)])


def test_sequence_ratio_gradient_is_shared_by_the_trained_tokens():
    # d/dp_t exp(mean) = ratio / |o|: sqrt(2 * 8) / 2 = 2 for one of the broadcast positions, 0 at the untrained token
    policy = mx.log(mx.array([[2.0, 8.0, 5.0]]))
    mask = mx.array([[1, 1, 0]])
    gradient = mx.grad(lambda p: sequence_ratio(p, mx.zeros((1, 3)), mask)[0, 0])(policy)
    assert gradient.tolist()[0] == pytest.approx([2.0, 2.0, 0.0])


def test_garbage_at_masked_positions_does_not_reach_the_gradient():
    policy = mx.array([[0.1, math.nan, -math.inf]])
    sampler = mx.array([[0.0, -math.inf, -math.inf]])
    gradient = mx.grad(lambda p: sequence_ratio(p, sampler, mx.array([[1, 0, 0]]))[0, 0])(policy)
    assert gradient.tolist()[0] == pytest.approx([math.exp(0.1), 0.0, 0.0])
