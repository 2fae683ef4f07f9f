import math

import mlx.core as mx
import numpy as np
import pytest

from grpo.reduce import StepCounts, batch_denominator, masked_sum, reduce_loss, sequence_means

# rows of 4 tokens of 1, of 1 token of 3, and a row left out
LOSSES = mx.array([[1.0, 1.0, 1.0, 1.0], [3.0, math.nan, math.inf, 9.0], [math.nan, 5.0, 5.0, 5.0]])
MASK = mx.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("sequence", 2.0),  # means 1 and 3 over 2 sequences
        ("token", 1.4),  # 7 over 5 tokens
        ("budget", 0.35),  # 7 over 2 x 10
    ],
)
def test_what_each_unit_weighs(unit, expected):
    reduced = reduce_loss(LOSSES, MASK, unit=unit, max_completion_length=10)
    assert reduced.item() == pytest.approx(expected)


@pytest.mark.parametrize(("unit", "expected"), [("sequence", 2), ("token", 5), ("budget", 20)])
def test_denominator_of_the_batch(unit, expected):
    assert batch_denominator(MASK, unit=unit, max_completion_length=10).item() == expected


@pytest.mark.parametrize(("unit", "expected"), [("sequence", 0.5), ("token", 7 / 8), ("budget", 7 / 8)])
def test_a_given_denominator_is_what_the_sum_is_divided_by(unit, expected):
    # sequence: (1 + 3) / 8; tokens: 7 / 8, and the budget needs no max_completion_length then
    for denominator in (8, 8.0, mx.array(8.0), mx.array(8)):
        assert reduce_loss(LOSSES, MASK, unit=unit, denominator=denominator).item() == pytest.approx(expected)


def test_counts_of_a_step():
    # rows of 4, 1 and no trained tokens
    counts = StepCounts.of([4, 1, 0])
    assert [counts.denominator(unit, 10) for unit in ("sequence", "token", "budget")] == [2.0, 5.0, 20.0]


def test_sequence_means_and_masked_sum():
    assert sequence_means(LOSSES, MASK).tolist() == [1.0, 3.0, 0.0]
    assert masked_sum(LOSSES, MASK).item() == 7.0
    assert masked_sum(LOSSES, MASK == 1).item() == 7.0


def test_gradient_weights_of_tokens():
    # sequence: 1 / (sequences * |o|) = 1/8 for the long row, 1/2 for the short one; 0 at masked positions
    finite = mx.where(MASK != 0, LOSSES, 0.0)
    gradient = mx.grad(lambda values: reduce_loss(values, MASK, unit="sequence"))(finite)
    np.testing.assert_allclose(np.array(gradient), [[1 / 8] * 4, [1 / 2, 0, 0, 0], [0] * 4], rtol=1e-6)


@pytest.mark.parametrize("unit", ["sequence", "token", "budget"])
@pytest.mark.parametrize("denominator", [None, 0.0, 4.0])
def test_everything_masked_is_zero(unit, denominator):
    mask = mx.zeros((3, 4))
    loss = reduce_loss(LOSSES, mask, unit=unit, max_completion_length=10, denominator=denominator)
    assert loss.item() == 0.0


def test_the_unit_must_be_known():
    with pytest.raises(ValueError, match=r"unit must be one of sequence, token, budget, got 'row'"):
        reduce_loss(LOSSES, MASK, unit="row")


@pytest.mark.parametrize("length", [None, 0])
def test_dr_grpo_needs_a_budget(length):
    with pytest.raises(ValueError, match=r"max_completion_length must be at least 1 with loss_type dr_grpo, got"):
        reduce_loss(LOSSES, MASK, unit="budget", max_completion_length=length)
