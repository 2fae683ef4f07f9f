"""pass@k, cons@k, intervals and the paired test against enumeration and simulation."""

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest

from benchmarks.harness.metrics import bootstrap_interval, cons_at_k, paired_comparison, pass_at_k, wilson_interval


def every_subset(n, k, worth):
    subsets = list(itertools.combinations(range(n), k))
    return sum(worth(subset) for subset in subsets) / len(subsets)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        assert pass_at_k(n, c, k) == pytest.approx(every_subset(n, k, lambda chosen, c=c: min(chosen) < c))


def test_pass_at_k_by_hand():
    # 4 samples, 1 right: one sample hits it with 1/4; two miss it with C(3,2) / C(4,2) = 3/6
    assert pass_at_k(4, 1, 1) == 0.25
    assert pass_at_k(4, 1, 2) == 0.5
    assert pass_at_k(64, 64, 64) == 1.0 and pass_at_k(64, 0, 64) == 0.0


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5), (0, 0, 1)])
def test_pass_at_k_refuses_the_impossible(n, c, k):
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(n, c, k)


def vote(answers, correct):
    """The majority among these, ties shared."""
    counts = Counter(answer for answer in answers if answer is not None)
    winners = [answer for answer, count in counts.items() if count == max(counts.values())]
    return (correct in winners) / len(winners) if winners else 0.0


def test_cons_at_k_is_the_mean_vote_over_all_choices_of_k_samples():
    rng = random.Random(1)
    for _ in range(60):
        answers = [rng.choice(["a", "b", "c", "d", None]) for _ in range(rng.randint(1, 8))]
        for k in range(1, len(answers) + 1):
            expected = every_subset(len(answers), k, lambda chosen, a=answers: vote([a[i] for i in chosen], "a"))
            assert cons_at_k(answers, "a", k) == pytest.approx(expected)


def test_cons_at_k_by_hand():
    assert cons_at_k(["a", "b", "a"], "a") == 1.0
    assert cons_at_k(["a", "b"], "a") == 0.5  # a tie of two
    assert cons_at_k(["a", "b", "c", None], "a") == pytest.approx(1 / 3)
    assert cons_at_k([None, None, "a"], "a") == 1.0  # silence is no vote
    assert cons_at_k([None, None], "a") == 0.0
    assert cons_at_k(["b", "b"], "a") == 0.0
    assert cons_at_k(["b", None], None) == 0.0  # no sample is right
    # any 1 of a, a, b: a with 2/3
    assert cons_at_k(["a", "b", "a"], "a", 1) == pytest.approx(2 / 3)


def test_cons_at_64_of_64_different_answers_is_quick_and_right():
    assert cons_at_k(list(range(64)), 5, 64) == pytest.approx(1 / 64)
    assert cons_at_k(list(range(64)), 5, 32) == pytest.approx(1 / 64)  # drawn with 1/2, then one of 32


def test_wilson_by_hand():
    # 8 of 10, z = 1.959964: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half 0.22658
    low, high = wilson_interval(8, 10)
    assert (low, high) == pytest.approx((0.49016, 0.94331), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0.0 and wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_ends_are_where_the_score_test_is_at_its_limit():
    # |share - p| = z * sqrt(p (1 - p) / n) at both ends
    for successes, n in [(3, 30), (17, 40), (1, 7)]:
        for end in wilson_interval(successes, n):
            assert abs(successes / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), rel=1e-5)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    wilson = boot = 0
    for trial in range(300):
        hardness = rng.beta(1, 1, 80)  # problems differ; 4 samples of each
        samples = (rng.random((80, 4)) < hardness[:, None]).astype(float)
        low, high = bootstrap_interval(samples.tolist(), resamples=600, seed=trial)
        boot += low <= 0.5 <= high
        right = int(rng.binomial(80, 0.3))
        low, high = wilson_interval(right, 80)
        wilson += low <= 0.3 <= high
    assert 0.91 <= wilson / 300 <= 0.98 and 0.91 <= boot / 300 <= 0.98  # 0.95 within 3 standard errors of 0.0126


def test_the_bootstrap_is_over_problems_not_samples():
    # 10 problems whose 100 samples all agree: as wide as with one sample each
    problems = [[float(place % 2)] * 100 for place in range(10)]
    assert bootstrap_interval(problems) == bootstrap_interval([row[0] for row in problems])
    assert bootstrap_interval(problems)[1] - bootstrap_interval(problems)[0] > 0.4
    assert bootstrap_interval([[1.0], [1.0]]) == (1.0, 1.0)
    assert all(map(math.isnan, bootstrap_interval([0.5])))


def test_the_bootstrap_equals_its_exact_enumeration():
    values = [0.0, 0.25, 1.0, 0.5]
    means = sorted(sum(pick) / 4 for pick in itertools.product(values, repeat=4))  # all 256 resamples
    low, high = bootstrap_interval(values, 0.8, resamples=200_000)
    assert low == pytest.approx(np.quantile(means, 0.1), abs=0.07) and high == pytest.approx(
        np.quantile(means, 0.9), abs=0.07
    )


def test_the_paired_p_value_is_the_share_of_sign_patterns():
    rng = random.Random(2)
    for _ in range(30):
        first = [rng.randint(0, 4) / 4 for _ in range(9)]
        second = [rng.randint(0, 4) / 4 for _ in range(9)]
        steps = [b - a for a, b in zip(first, second, strict=True)]
        sums = [
            abs(sum(s * d for s, d in zip(signs, steps, strict=True))) for signs in itertools.product((1, -1), repeat=9)
        ]
        expected = sum(one >= abs(sum(steps)) - 1e-9 for one in sums) / len(sums)
        assert paired_comparison(first, second).p_value == pytest.approx(expected)


def test_with_one_sample_it_is_mcnemars_exact_test():
    # 8 problems won, 1 lost, 20 the same: 2 * (C(9,0) + C(9,1)) / 2^9 = 20/512
    found = paired_comparison([0.0] * 8 + [1.0] + [1.0] * 20, [1.0] * 8 + [0.0] + [1.0] * 20)
    assert found.p_value == pytest.approx(20 / 512)
    assert (found.better, found.worse, found.problems) == (8, 1, 29)
    assert found.difference == pytest.approx(7 / 29)


def test_the_same_run_twice_is_no_difference():
    found = paired_comparison([0.25, 1.0, 0.0], [0.25, 1.0, 0.0])
    assert (found.difference, found.p_value, found.interval) == (0.0, 1.0, (0.0, 0.0))


def test_thirds_and_64ths_stay_exact():
    # differences 1/3 and -1/3 cancel: every pattern is at least that far
    assert paired_comparison([0.0, 1 / 3], [1 / 3, 0.0]).p_value == 1.0
    assert paired_comparison([0.0] * 5, [1 / 64] * 5).p_value == pytest.approx(2 / 32)


def test_runs_of_different_problems_are_refused():
    with pytest.raises(ValueError, match="same problems"):
        paired_comparison([1.0], [1.0, 0.0])
