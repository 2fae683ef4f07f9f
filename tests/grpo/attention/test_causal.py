"""Blocked attention against mlx's own."""

import mlx.core as mx
import numpy as np
import pytest

from grpo.attention import causal
from grpo.attention.causal import causal_attention


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
    monkeypatch.setattr(causal, "on_cpu", lambda _: keeps)
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


@pytest.mark.parametrize("window", [None, 5])
def test_queries_may_be_those_of_the_last_keys_alone(window):
    queries, keys, values, weights = arrays(37)

    def last(q, k, v):
        return (causal_attention(q[:, 20:], k, v, 0.3, window=window, block=8) * weights[:, 20:]).sum()

    def plain(q, k, v):
        return (reference(q, k, v, window) * weights)[:, 20:].sum()

    mine = mx.grad(last, argnums=(0, 1, 2))(queries, keys, values)
    expected = mx.grad(plain, argnums=(0, 1, 2))(queries, keys, values)
    for actual, wanted in zip(mine, expected, strict=True):
        assert np.abs(np.array(actual - wanted)).max() < 1e-5


def test_scores_far_apart_do_not_overflow():
    queries, keys, values, _ = arrays(9)
    attended = causal_attention(queries * 1e3, keys, values, 1.0)
    assert mx.isfinite(attended).all().item()
