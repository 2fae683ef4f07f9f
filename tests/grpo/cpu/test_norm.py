"""The norm of few rows against MLX's own, values and gradients."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from grpo.cpu import norm
from grpo.cpu.exponential import on_cpu

pytestmark = pytest.mark.skipif(not on_cpu(mx.zeros(1)), reason="MLX computes on a GPU here")


def pair(dims):
    """A norm with weights of its own, as MLX has it and as it is here."""
    plain, few = nn.RMSNorm(dims, eps=1e-2), nn.RMSNorm(dims, eps=1e-2)
    plain.weight = few.weight = mx.random.normal((dims,), key=mx.random.key(0))
    norm.install(few)
    return plain, few


@pytest.mark.parametrize("rows", [1, 7, norm.MOST // 48 + 1])
def test_few_and_many_rows_are_normed_alike(rows):
    plain, few = pair(48)
    x = mx.random.normal((rows, 1, 48), key=mx.random.key(1))
    assert type(few) is norm.FewRowsNorm
    assert np.allclose(few(x), plain(x), rtol=1e-5, atol=1e-6)


def test_the_gradients_are_the_same():
    plain, few = pair(48)
    x, pulled = (mx.random.normal((3, 48), key=mx.random.key(key)) for key in (1, 2))
    mine, its = (mx.vjp(module, [x], [pulled])[1][0] for module in (few, plain))
    assert np.allclose(mine, its, rtol=1e-4, atol=1e-5)


def test_a_row_of_zeros_stays_zero_and_parameters_stay_what_they_were():
    plain, few = pair(8)
    assert few(mx.zeros((1, 8))).tolist() == [[0.0] * 8]
    assert few.parameters().keys() == plain.parameters().keys() == {"weight"}
