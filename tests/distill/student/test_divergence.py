"""Divergences and their derivatives, whole and in buckets."""

import math

import mlx.core as mx
import numpy as np
import pytest

from distill.student.divergence import bucketed, divergence, log_softmax, unbucketed

KINDS = ["forward", "reverse", "js"]


def plain(kind, p, q):
    """The definitions, in float64."""
    p, q = np.array(p, dtype=np.float64), np.array(q, dtype=np.float64)
    m = (p + q) / 2

    def kl(a, b):
        return float((a * np.log(a / b)).sum())

    return {"forward": kl(p, q), "reverse": kl(q, p), "js": (kl(p, m) + kl(q, m)) / 2}[kind]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("forward", 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)),  # 0.1438
        ("reverse", 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)),  # 0.1308
        # m = 3/8, 5/8: half of KL(p || m) = 0.0323 and of KL(q || m) = 0.0355
        (
            "js",
            0.25 * (math.log(0.5 / 0.375) + math.log(0.5 / 0.625))
            + 0.125 * math.log(0.25 / 0.375)
            + 0.375 * math.log(0.75 / 0.625),
        ),
    ],
)
def test_two_outcomes_by_hand(kind, expected):
    loss, _ = divergence(mx.log(mx.array([[0.5, 0.5]])), mx.log(mx.array([[0.25, 0.75]])), kind)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_distribution_is_at_distance_0(kind):
    logs = log_softmax(mx.array([[1.0, -3.0, 0.5]]))
    loss, slope = divergence(logs, logs, kind)
    assert loss.item() == pytest.approx(0, abs=1e-6) and mx.abs(slope).max().item() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [None, 3])
def test_the_derivative_is_that_of_finite_differences(kind, k):
    rng = np.random.default_rng(0)
    teacher, student = log_softmax(mx.array(rng.normal(size=(2, 9)))), rng.normal(size=(2, 9))
    ids = mx.array([[0, 4, 8], [1, 2, 3]])

    def loss_and_slope(logits):
        log_q = log_softmax(mx.array(logits, dtype=mx.float32))
        if k is None:
            return divergence(teacher, log_q, kind)
        loss, by_bucket = divergence(bucketed(teacher, ids), bucketed(log_q, ids), kind)
        return loss, unbucketed(by_bucket, log_q, ids)

    slope = np.array(loss_and_slope(student)[1])
    for place in [(0, 0), (0, 1), (1, 3), (1, 8)]:
        step = np.zeros_like(student)
        step[place] = 1e-2
        up, down = (loss_and_slope(student + sign * step)[0] for sign in (1, -1))
        assert slope[place] == pytest.approx((up - down)[place[0]].item() / 2e-2, abs=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_all_tokens_in_buckets_of_their_own_is_the_whole_divergence(kind):
    rng = np.random.default_rng(1)
    teacher, student = (log_softmax(mx.array(rng.normal(size=(3, 7)))) for _ in range(2))
    ids = mx.array([[6, 5, 4, 3, 2, 1, 0]] * 3)
    whole, by_logits = divergence(teacher, student, kind)
    parts, by_bucket = divergence(bucketed(teacher, ids), bucketed(student, ids), kind)
    assert np.array(parts) == pytest.approx(np.array(whole), rel=1e-5)
    assert np.array(unbucketed(by_bucket, student, ids)) == pytest.approx(np.array(by_logits), abs=1e-6)
    assert np.array(whole)[0] == pytest.approx(
        plain(kind, np.exp(np.array(teacher))[0], np.exp(np.array(student))[0]), rel=1e-4
    )


def test_the_mass_of_the_others_is_exact_where_almost_nothing_is_left():
    # logits 40 and 0: the rest has e^-40 of the mass, which 1 - p rounds to 0
    logs = log_softmax(mx.array([[40.0, 0.0, 0.0]]))
    assert bucketed(logs, mx.array([[0]]))[0, 1].item() == pytest.approx(-40 + math.log(2), rel=1e-6)


def test_merging_the_others_never_adds_divergence():
    rng = np.random.default_rng(2)
    teacher, student = (log_softmax(mx.array(2 * rng.normal(size=(50, 20)))) for _ in range(2))
    ids = mx.argsort(-teacher, axis=-1)[:, :4]
    for kind in KINDS:
        whole = divergence(teacher, student, kind)[0]
        assert (divergence(bucketed(teacher, ids), bucketed(student, ids), kind)[0] <= whole + 1e-5).all().item()
