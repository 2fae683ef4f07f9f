"""Top-k and top-p against sorting the whole vocabulary."""

import mlx.core as mx
import numpy as np
import pytest

from grpo.cpu.nucleus import nucleus


def by_sorting(row, top_p, top_k):
    """float64, one row."""
    order = np.argsort(-row, kind="stable")
    ranked = row[order].astype(np.float64)
    if top_k:
        ranked[top_k:] = 0
    before = np.cumsum(ranked) - ranked
    kept = order[(before < top_p * ranked.sum()) & (ranked > 0)]
    out = np.zeros_like(row)
    out[kept] = row[kept]
    return out


def filtered(rows, top_p, top_k):
    return np.array(nucleus(mx.array(rows), top_p=top_p, top_k=top_k))


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(
    ("top_p", "top_k"), [(0.95, 0), (0.5, 0), (0.999, 0), (1.0, 7), (0.8, 7), (0.9, 10**6), (0.01, 0)]
)
def test_it_keeps_what_sorting_keeps(spread, top_p, top_k):
    rng = np.random.default_rng(0)
    rows = np.exp(spread * rng.normal(size=(6, 5000))).astype(np.float32)
    found = filtered(rows, top_p, top_k)
    for row, out in zip(rows, found, strict=True):
        np.testing.assert_array_equal(out, by_sorting(row, top_p, top_k))


def test_by_hand():
    # masses 5, 3, 1, 1 of 10: 0.8 is held by the first two, 0.81 needs one more, the one with the smaller id
    row = np.array([[1.0, 5.0, 3.0, 1.0]], dtype=np.float32)
    assert filtered(row, 0.8, 0).tolist() == [[0.0, 5.0, 3.0, 0.0]]
    assert filtered(row, 0.81, 0).tolist() == [[1.0, 5.0, 3.0, 0.0]]
    assert filtered(row, 0.6, 2).tolist() == [[0.0, 5.0, 0.0, 0.0]]  # of 5 + 3 = 8 the first holds 0.625
    assert filtered(row, 1.0, 3).tolist() == [[1.0, 5.0, 3.0, 0.0]]


def test_one_token_with_all_the_mass():
    row = np.zeros((1, 100), dtype=np.float32)
    row[0, 42] = 1.0
    np.testing.assert_array_equal(filtered(row, 0.95, 0), row)
    np.testing.assert_array_equal(filtered(row, 0.95, 5), row)
