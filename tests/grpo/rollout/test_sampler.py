"""Draws against the exact distribution, with given random numbers."""

import math

import mlx.core as mx
import numpy as np
import pytest

from grpo.rollout.sampler import BLOCK, Sampling, draw

DRAWS = 20_000


def exact(logits, temperature=1.0):
    """float64 softmax(logits / temperature)."""
    scaled = np.asarray(logits, np.float64) / temperature
    masses = np.exp(scaled - scaled.max())
    return masses / masses.sum()


def seeds(count, seed=0):
    return mx.array(np.random.default_rng(seed).integers(2**32, size=count, dtype=np.uint32))


def frequencies(logits, sampling, draws=DRAWS):
    rows = mx.broadcast_to(mx.array(logits, dtype=mx.float32)[None], (draws, len(logits)))
    tokens = np.array(draw(rows, seeds(draws), sampling).tokens)
    return np.bincount(tokens, minlength=len(logits))


def chi_square_is_small(counts, probabilities):
    """At most five standard deviations, sqrt(2 (n - 1)), above the mean n - 1; rare tokens are counted apart."""
    expected = probabilities * counts.sum()
    common = expected >= 5
    assert counts[~common].sum() <= expected[~common].sum() + 5 * math.sqrt(expected[~common].sum() + 1)
    statistic = ((counts - expected)[common] ** 2 / expected[common]).sum()
    freedom = common.sum() - 1
    return statistic < freedom + 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("vocab", [7, BLOCK, 257, 512, 1000])  # below, equal to and not a multiple of the block
def test_frequencies_are_those_of_the_softmax(vocab):
    logits = np.random.default_rng(vocab).normal(0, 1.5, vocab)
    counts = frequencies(logits, Sampling(0.6))
    assert chi_square_is_small(counts, exact(logits, 0.6))
    assert not chi_square_is_small(counts, exact(logits, 0.8))  # the test can tell a temperature from another


def test_neighbouring_seeds_draw_independently():
    # seeds 0, 1, 2, ... as a stream: pairs of draws are as frequent as the products of their probabilities
    logits = np.log([0.5, 0.3, 0.2])
    rows = mx.broadcast_to(mx.array(logits, dtype=mx.float32)[None], (DRAWS, 3))
    tokens = np.array(draw(rows, mx.arange(DRAWS, dtype=mx.uint32), Sampling()).tokens)
    pairs = np.bincount(3 * tokens[::2] + tokens[1::2], minlength=9)
    assert chi_square_is_small(pairs, np.outer(exact(logits), exact(logits)).ravel())


def test_rounding_hardly_ever_moves_a_draw():
    # noise ten times that of another batch size; inverting a cumulative sum would move 0.7% of the draws
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 1, (40, 20_000)).astype(np.float32)
    noisy = logits + rng.normal(0, 1e-4, logits.shape).astype(np.float32)
    moved = 0
    for seed in range(25):
        tokens, others = (draw(mx.array(x), seeds(40, seed), Sampling()).tokens for x in (logits, noisy))
        moved += (tokens != others).sum().item()
    assert moved <= 1  # of 1,000


def test_logprob_and_entropy_of_known_probabilities():
    # entropy -(1/8 log 1/8 + 2/8 log 2/8 + 5/8 log 5/8) = 0.9003
    drawn = draw(mx.log(mx.array([[1.0, 2.0, 5.0]])), mx.array([7], mx.uint32), Sampling())
    assert drawn.logprobs.item() == pytest.approx(math.log([1 / 8, 2 / 8, 5 / 8][drawn.tokens.item()]), rel=1e-5)
    assert drawn.entropies.item() == pytest.approx(0.90026, abs=1e-4)


def test_temperature_counts_in_logprob_and_entropy():
    # temperature 1/2 squares: 1/30, 4/30, 25/30
    drawn = draw(mx.log(mx.array([[1.0, 2.0, 5.0]])), mx.array([7], mx.uint32), Sampling(0.5))
    probabilities = np.array([1, 4, 25]) / 30
    assert drawn.logprobs.item() == pytest.approx(math.log(probabilities[drawn.tokens.item()]), rel=1e-5)
    assert drawn.entropies.item() == pytest.approx(-(probabilities * np.log(probabilities)).sum(), rel=1e-5)


@pytest.mark.parametrize("vocab", [50, 300, 49_152])
def test_logprobs_and_entropies_against_float64(vocab):
    logits = np.random.default_rng(0).normal(0, 4, (3, vocab)).astype(np.float32)
    drawn = draw(mx.array(logits), seeds(3), Sampling(0.7))
    for row in range(3):
        probabilities = exact(logits[row], 0.7)
        assert drawn.logprobs[row].item() == pytest.approx(math.log(probabilities[drawn.tokens[row].item()]), abs=2e-5)
        # a float32 sum over the vocabulary of terms up to the largest logit (25); a metric, not a part of the loss
        assert drawn.entropies[row].item() == pytest.approx(-(probabilities * np.log(probabilities)).sum(), abs=1e-3)


def test_the_order_is_temperature_first_then_top_p():
    # probabilities 0.5, 0.3, 0.2 at temperature 1; at 0.5: 25/38 = 0.66, 9/38 = 0.24, 4/38 = 0.11
    # top_p 0.6 after the temperature keeps the first token alone; before it, it would keep two
    logits = np.log([0.5, 0.3, 0.2])
    assert (frequencies(logits, Sampling(0.5, top_p=0.6), 1000) > 0).tolist() == [True, False, False]
    assert (frequencies(logits, Sampling(1.0, top_p=0.6), 1000) > 0).tolist() == [True, True, False]


def test_top_p_keeps_the_smallest_set_that_holds_it():
    # 0.4 + 0.3 = 0.7 < 0.75 <= 0.4 + 0.3 + 0.2: three of four tokens, renormalised by 0.9
    probabilities = np.array([0.1, 0.4, 0.2, 0.3])
    counts = frequencies(np.log(probabilities), Sampling(1.0, top_p=0.75))
    assert counts[0] == 0
    assert chi_square_is_small(counts[1:], probabilities[1:] / 0.9)


def test_top_k_keeps_the_likeliest_and_comes_before_top_p():
    probabilities = np.array([0.1, 0.4, 0.2, 0.3])
    counts = frequencies(np.log(probabilities), Sampling(1.0, top_k=2))
    assert (counts > 0).tolist() == [False, True, False, True]
    # of 0.4 and 0.3 renormalised, 4/7 = 0.571 holds top_p 0.5 alone; of all four it would not
    assert (frequencies(np.log(probabilities), Sampling(1.0, top_p=0.5, top_k=2), 1000) > 0).tolist() == [
        False,
        True,
        False,
        False,
    ]


def test_logprobs_are_of_the_unfiltered_distribution():
    drawn = draw(mx.log(mx.array([[0.5, 0.3, 0.2]])), mx.array([7], mx.uint32), Sampling(1.0, top_p=0.4))
    assert (drawn.tokens.item(), round(drawn.logprobs.item(), 5)) == (0, round(math.log(0.5), 5))


def test_a_row_depends_on_nothing_but_its_own_logits_and_number():
    logits = mx.array(np.random.default_rng(3).normal(0, 2, (8, 300)).astype(np.float32))
    numbers = seeds(8)
    together = draw(logits, numbers, Sampling(0.9))
    order = [5, 2, 7]
    apart = draw(logits[mx.array(order)], numbers[mx.array(order)], Sampling(0.9))
    assert apart.tokens.tolist() == [together.tokens[row].item() for row in order]
    assert apart.logprobs.tolist() == [together.logprobs[row].item() for row in order]


@pytest.mark.parametrize("vocab", [12, 256, 300])
@pytest.mark.parametrize("number", [0, 1, 2**31, 0xC0FFEE, 2**32 - 1])
def test_a_token_of_probability_zero_is_never_drawn(vocab, number):
    # every second token, and all of the first and last quarter, are impossible
    allowed = [i for i in range(vocab // 4, vocab * 3 // 4) if i % 2]
    logits = np.full(vocab, -np.inf, np.float32)
    logits[allowed] = np.random.default_rng(0).normal(0, 3, len(allowed))
    drawn = draw(mx.array(logits[None]), mx.array([number], mx.uint32), Sampling())
    assert drawn.tokens.item() in allowed
    assert math.isfinite(drawn.logprobs.item()) and math.isfinite(drawn.entropies.item())


def test_greedy_takes_the_likeliest_with_its_plain_logprob():
    drawn = draw(mx.log(mx.array([[1.0, 5.0, 2.0]])), mx.array([0], mx.uint32), Sampling(0.0))
    assert drawn.tokens.item() == 1
    assert drawn.logprobs.item() == pytest.approx(math.log(5 / 8), rel=1e-5)


def test_low_precision_logits_are_summed_in_float32():
    logits = mx.zeros((1, 50_000), dtype=mx.bfloat16)
    assert draw(logits, mx.array([5], mx.uint32), Sampling()).logprobs.item() == pytest.approx(
        -math.log(50_000), rel=1e-5
    )


def test_extreme_logits_stay_finite():
    drawn = draw(mx.array([[1e4, -1e4, 0.0]]), mx.array([9], mx.uint32), Sampling(0.1))
    assert (drawn.tokens.item(), drawn.logprobs.item(), drawn.entropies.item()) == (0, 0.0, 0.0)
