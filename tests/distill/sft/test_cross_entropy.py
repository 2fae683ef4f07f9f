"""The loss head against mlx's own."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from distill.sft.cross_entropy import cross_entropy, weighted_loss


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_the_loss_head_gives_the_cross_entropy_and_its_gradient(chunk):
    mx.random.seed(5)
    hidden, table = mx.random.normal((7, 4)), {"weight": mx.random.normal((11, 4))}
    tokens, weights = mx.array([0, 3, 10, 3, 1, 7, 2]), mx.array([1.0, 0.5, 2.0, 0.0, 1.0, 1.0, 3.0])

    def mine(hidden, table):
        return weighted_loss(
            hidden,
            weights,
            cross_entropy(tokens),
            lambda parameters, states: states @ parameters["weight"].T,
            table,
            chunk_tokens=chunk,
        )[0]

    def plain(hidden, table):
        return (nn.losses.cross_entropy(hidden @ table["weight"].T, tokens) * weights).sum()

    actual = mx.value_and_grad(mine, argnums=(0, 1))(hidden, table)
    expected = mx.value_and_grad(plain, argnums=(0, 1))(hidden, table)
    assert actual[0].item() == pytest.approx(expected[0].item(), rel=1e-5)
    assert np.abs(np.array(actual[1][0] - expected[1][0])).max() < 1e-5
    assert np.abs(np.array(actual[1][1]["weight"] - expected[1][1]["weight"])).max() < 1e-5


def test_nothing_to_score_is_a_loss_of_0():
    total, losses = weighted_loss(
        mx.zeros((0, 4)), mx.zeros((0,)), cross_entropy(mx.array([])), lambda _, h: h, {}, chunk_tokens=4
    )
    assert total.item() == 0 and losses.shape == (0,)
