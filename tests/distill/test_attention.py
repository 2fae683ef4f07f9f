"""Blocked attention and the loss head against mlx's own."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from distill import attention
from distill.attention import causal_attention
from distill.cross_entropy import cross_entropy, weighted_loss


def arrays(time, heads=4, kv_heads=2, dims=8):
    mx.random.seed(3)
    return [mx.random.normal((n, time, dims)) for n in (heads, kv_heads, kv_heads, heads)]


def reference(queries, keys, values, window):
    distance = mx.arange(queries.shape[1])[:, None] - mx.arange(queries.shape[1])[None]
    seen = (distance >= 0) & (distance < (window or 1 << 30))
    return mx.fast.scaled_dot_product_attention(queries[None], keys[None], values[None], scale=0.3, mask=seen)[0]


@pytest.mark.parametrize("keeps", [True, False])  # the weights for the backward pass: on a CPU, not on a GPU
@pytest.mark.parametrize(("time", "window"), [(1, None), (7, None), (37, None), (37, 5), (32, 16)])
def test_blocks_give_plain_attention_and_its_gradient(time, window, keeps, monkeypatch):
    monkeypatch.setattr(attention, "on_cpu", lambda _: keeps)
    queries, keys, values, weights = arrays(time)

    def blocked(q, k, v):
        return (causal_attention(q, k, v, 0.3, window=window, block=8) * weights).sum()

    def plain(q, k, v):
        return (reference(q, k, v, window) * weights).sum()

    mine = mx.value_and_grad(blocked, argnums=(0, 1, 2))(queries, keys, values)
    expected = mx.value_and_grad(plain, argnums=(0, 1, 2))(queries, keys, values)
    assert mine[0].item() == pytest.approx(expected[0].item(), rel=1e-4, abs=1e-4)
    for actual, wanted in zip(mine[1], expected[1], strict=True):
        assert np.abs(np.array(actual - wanted)).max() < 1e-5


def test_scores_far_apart_do_not_overflow():
    queries, keys, values, _ = arrays(9)
    attended = causal_attention(queries * 1e3, keys, values, 1.0)
    assert mx.isfinite(attended).all().item()


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
