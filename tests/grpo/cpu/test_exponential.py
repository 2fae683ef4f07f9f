"""The CPU's exponentials against float64; on a machine with a GPU they are not used."""

import mlx.core as mx
import numpy as np
import pytest

from grpo.cpu.exponential import LOWEST, exp, on_cpu, row_max, swiglu
from grpo.cpu.fusion import without_gradient

pytestmark = pytest.mark.skipif(not on_cpu(mx.zeros(1)), reason="MLX computes on a GPU here")


def test_exp_is_exp_to_a_few_roundings():
    values = np.linspace(-87, 88, 100_001).astype(np.float32)
    assert np.array(exp(mx.array(values))) == pytest.approx(np.exp(values.astype(np.float64)), rel=5e-7)


def test_exp_far_below_is_exactly_0_and_nan_stays():
    # the weight of a masked score must be 0, and a guard against NaN must get to see it
    found = exp(mx.array([-88.5, -1e4, LOWEST, float("nan")])).tolist()
    assert found[:3] == [0.0, 0.0, 0.0]
    assert found[3] != found[3]


def test_swiglu_and_its_gradient_by_hand():
    # gate 0: sigmoid 1/2, so 0 * 1/2 * 3 = 0; d/dgate = 3 * (1/2 + 0) = 1.5, d/dup = 0
    # gate ln 3: sigmoid 3/4, so ln 3 * 3/4 * 2 = 1.5 ln 3; d/dgate = 2 * 3/4 * (1 + ln 3 / 4), d/dup = 3/4 ln 3
    log_3 = float(np.log(3))
    gate, up = mx.array([0.0, log_3]), mx.array([3.0, 2.0])
    assert swiglu(gate, up).tolist() == pytest.approx([0.0, 1.5 * log_3], rel=1e-6)
    by_gate, by_up = mx.grad(lambda gate, up: swiglu(gate, up).sum(), argnums=(0, 1))(gate, up)
    assert by_gate.tolist() == pytest.approx([1.5, 1.5 * (1 + log_3 / 4)], rel=1e-6)
    assert by_up.tolist() == pytest.approx([0.0, 0.75 * log_3], rel=1e-6)


@pytest.mark.parametrize("gate", [-1e4, -88.5, 88.5, 1e4])
def test_swiglu_of_extreme_gates_is_finite(gate):
    values = mx.grad(lambda gate, up: swiglu(gate, up).sum(), argnums=(0, 1))(mx.array([gate]), mx.array([2.0]))
    assert all(mx.isfinite(value).item() for value in values)
    assert swiglu(mx.array([gate]), mx.array([2.0])).item() == pytest.approx(2 * max(gate, 0.0), abs=1e-30)


def test_without_a_gradient_the_values_are_the_same_and_afterwards_there_is_one():
    gate, up = mx.random.normal((2, 5, 64))
    with pytest.raises(KeyboardInterrupt), without_gradient():
        exact, gated = exp(gate), swiglu(gate, up)
        raise KeyboardInterrupt
    assert mx.array_equal(exact, exp(gate)).item()
    assert mx.array_equal(gated, swiglu(gate, up)).item()
    slope = mx.grad(lambda up: swiglu(gate, up).sum())(up)
    assert mx.allclose(slope, gate * mx.sigmoid(gate), atol=1e-6).item()


@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 64), (2, 192)])
def test_row_max_is_the_highest_of_each_row(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.array(row_max(mx.array(values))).tolist() == values.max(axis=-1, keepdims=True).tolist()
