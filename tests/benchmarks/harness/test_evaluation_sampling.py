"""Top-p at T = 0.6 as it is published and run by vLLM and Hugging Face: the temperature first, then the filter."""

import mlx.core as mx
import mpmath
import numpy as np
import pytest

from grpo.rollout.sampler import Sampling, draw

DRAWS, BATCH = 200_000, 10_000
TEMPERATURE, TOP_P = 0.6, 0.95


def nucleus(probabilities):
    """Renormalised over the smallest set of likeliest tokens with a mass of at least TOP_P, in float64."""
    order = np.argsort(-probabilities)
    before = np.cumsum(probabilities[order]) - probabilities[order]
    kept = order[before < TOP_P]
    filtered = np.zeros_like(probabilities)
    filtered[kept] = probabilities[kept]
    return filtered / filtered.sum()


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def p_value(counts, expected):
    """Of Pearson's chi-square statistic."""
    allowed = expected > 0
    statistic = ((counts[allowed] - expected[allowed]) ** 2 / expected[allowed]).sum()
    freedom = allowed.sum() - 1
    return float(mpmath.gammainc(freedom / 2, statistic / 2, mpmath.inf, regularized=True))


@pytest.mark.parametrize(("vocab", "seed"), [(61, 0), (300, 1)])
def test_200_000_draws_follow_the_exact_distribution(vocab, seed):
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=vocab) * 1.2).astype(np.float32)
    rows = mx.broadcast_to(mx.array(logits), (BATCH, vocab))
    counts = np.zeros(vocab)
    for _ in range(DRAWS // BATCH):
        seeds = mx.array(rng.integers(2**32, size=BATCH, dtype=np.uint32))
        tokens = draw(rows, seeds, Sampling(TEMPERATURE, TOP_P)).tokens
        counts += np.bincount(np.array(tokens), minlength=vocab)
    exact = nucleus(softmax(logits.astype(np.float64) / TEMPERATURE))
    assert counts.sum() == DRAWS and counts[exact == 0].sum() == 0
    assert exact[exact > 0].min() * DRAWS > 5  # chi-square needs no rare tokens
    assert p_value(counts, exact * DRAWS) > 0.001
    # the other order keeps more tokens and is told apart
    other = softmax(
        np.where(nucleus(softmax(logits.astype(np.float64))) > 0, logits.astype(np.float64), -np.inf) / TEMPERATURE
    )
    assert (other > 0).sum() > (exact > 0).sum()
    assert p_value(counts, other * DRAWS) < 1e-6
