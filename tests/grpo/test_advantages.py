import itertools
import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.advantages import (
    decoupled_advantages,
    group_advantages,
    leave_one_out_advantages,
    maximum_likelihood_advantages,
    pass_at_k_advantages,
    whitened_advantages,
)

MISSING = float("nan")


def oracle(rewards, scale, epsilon):
    """float64, one group and one reward at a time."""
    groups = [[r for r in row if not math.isnan(r)] for row in rewards]
    everything = [r for group in groups for r in group]
    result = np.zeros((len(rewards), len(rewards[0])))
    for row, (all_rewards, group) in enumerate(zip(rewards, groups, strict=True)):
        if len(group) < 2 or max(group) == min(group):
            continue
        population = group if scale == "group" else everything
        divisor = 1.0 if scale == "none" else np.std(np.array(population, dtype=np.float64), ddof=1) + epsilon
        for column, reward in enumerate(all_rewards):
            if not math.isnan(reward):
                result[row, column] = (reward - sum(group) / len(group)) / divisor
    return result


def test_one_success_in_four():
    # mean 1/4; centred 3/4, -1/4, -1/4, -1/4; ddof 1: variance (9 + 1 + 1 + 1) / 16 / 3 = 1/4, std 1/2
    # 0.75 / 0.5 = 1.5 and -0.25 / 0.5 = -0.5
    advantages = group_advantages(mx.array([[1.0, 0.0, 0.0, 0.0]]), epsilon=0.0)
    assert advantages.tolist()[0] == pytest.approx([1.5, -0.5, -0.5, -0.5])


def test_epsilon_is_added_to_the_std():
    # the same with 0.75 / (0.5 + 0.5) and -0.25 / (0.5 + 0.5)
    advantages = group_advantages(mx.array([[1.0, 0.0, 0.0, 0.0]]), epsilon=0.5)
    assert advantages.tolist()[0] == pytest.approx([0.75, -0.25, -0.25, -0.25])


def test_default_epsilon():
    # 0.75 / (0.5 + 0.0001)
    assert group_advantages(mx.array([[1.0, 0.0, 0.0, 0.0]]))[0, 0].item() == pytest.approx(0.75 / 0.5001, rel=1e-6)


def test_scale_none_only_centres():
    advantages = group_advantages(mx.array([[1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 2.0]]), scale="none")
    assert advantages.tolist() == [[0.75, -0.25, -0.25, -0.25], [1.0, -1.0, -1.0, 1.0]]


def test_scale_batch_divides_every_group_by_the_batch_std():
    # group means 1/2 and 2; batch 1, 0, 3, 1: mean 5/4, squares (1 + 25 + 49 + 1) / 16 = 19/4, ddof 1: / 3 = 19/12
    advantages = group_advantages(mx.array([[1.0, 0.0], [3.0, 1.0]]), scale="batch", epsilon=0.0)
    std = math.sqrt(19 / 12)
    np.testing.assert_allclose(np.array(advantages), [[0.5 / std, -0.5 / std], [1 / std, -1 / std]], rtol=1e-6)


def test_a_missing_reward_is_left_out_of_mean_and_std():
    # present 2, 0: mean 1, variance (1 + 1) / 1 = 2
    advantages = group_advantages(mx.array([[2.0, MISSING, 0.0]]), epsilon=0.0)
    assert advantages.tolist()[0] == pytest.approx([1 / math.sqrt(2), 0.0, -1 / math.sqrt(2)])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_lone_reward_has_no_advantage(scale):
    advantages = group_advantages(mx.array([[5.0, MISSING, MISSING], [MISSING] * 3, [1.0, 0.0, 0.0]]), scale=scale)
    assert advantages[:2].tolist() == [[0.0] * 3] * 2
    assert advantages[2, 0].item() > 0
    assert group_advantages(mx.array([[5.0]]), scale=scale).tolist() == [[0.0]]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-4])
@pytest.mark.parametrize("reward", [0.0, 0.1, 1.3, -1e6])
def test_equal_rewards_give_exactly_zero(scale, epsilon, reward):
    advantages = group_advantages(mx.full((2, 7), reward), scale=scale, epsilon=epsilon)
    assert advantages.tolist() == [[0.0] * 7] * 2


@pytest.mark.parametrize("epsilon", [0.0, 1e-4])
@pytest.mark.parametrize("base", [0.3, 1.0, 1000.0])
def test_nearly_equal_rewards_stay_bounded(base, epsilon):
    # one outlier among n has the largest z-score there is: (n - 1) / sqrt(n), for 16 that is 3.75
    rewards = np.full((1, 16), base, dtype=np.float32)
    rewards[0, 3] = np.nextafter(np.float32(base), np.float32(np.inf))
    advantages = np.array(group_advantages(mx.array(rewards), epsilon=epsilon))
    assert np.abs(advantages).max() <= 3.75 * (1 + 1e-5)
    assert advantages.sum() == pytest.approx(0.0, abs=1e-5)


def test_the_scale_must_be_known():
    with pytest.raises(ValueError, match=r"scale must be one of group, batch, none, got 'std'"):
        group_advantages(mx.zeros((1, 2)), scale="std")


def test_a_flat_list_of_rewards_is_refused():
    with pytest.raises(ValueError, match=r"rewards must be \[prompts, samples\], got shape \(4,\)"):
        group_advantages(mx.zeros((4,)))


rewards_in_quarters = st.integers(min_value=-8, max_value=8).map(lambda quarter: quarter / 4)


@settings(max_examples=60, deadline=None)
@given(
    groups=st.integers(1, 5).flatmap(
        lambda samples: st.lists(
            st.lists(st.one_of(rewards_in_quarters, st.just(MISSING)), min_size=samples, max_size=samples),
            min_size=1,
            max_size=4,
        )
    ),
    scale=st.sampled_from(["group", "batch", "none"]),
    epsilon=st.sampled_from([0.0, 1e-4, 0.5]),
)
def test_float64_oracle(groups, scale, epsilon):
    advantages = np.array(group_advantages(mx.array(groups, dtype=mx.float32), scale=scale, epsilon=epsilon))
    np.testing.assert_allclose(advantages, oracle(groups, scale, epsilon), rtol=1e-5, atol=1e-6)


# GDPO


def decoupled(rewards, weights, epsilon=0.0):
    return np.array(decoupled_advantages(mx.array(rewards), mx.array(weights), epsilon=epsilon))


def test_each_reward_is_normalised_before_they_are_summed():
    # two groups of two. One reward differs in the first, both in the second; each gives +-1/sqrt(2) where it differs.
    # S: +-0.7071 and +-1.4142; mean 0, sum of squares 2 * 1/2 + 2 * 2 = 5, ddof 1: / 3; std sqrt(5 / 3) = 1.29099
    rewards = [[[1.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]]
    expected = [[0.547723, -0.547723], [1.095445, -1.095445]]
    np.testing.assert_allclose(decoupled(rewards, [1.0, 1.0]), expected, rtol=1e-5)
    # summed first, the two groups are told apart no more
    summed = np.array(group_advantages(mx.array(rewards).sum(axis=0), epsilon=0.0))
    np.testing.assert_allclose(summed, [[0.707107, -0.707107]] * 2, rtol=1e-5)


def test_weights_weigh_normalised_rewards_whatever_their_scale():
    # the second reward in hundreds: its advantages are +-0.7071 all the same. S = +-(0.7071 - 0.5 * 0.7071), one group:
    # divided by its own std sqrt(2) * 0.35355 = 0.5 gives +-0.7071
    rewards = [[[1.0, 0.0]], [[0.0, 100.0]]]
    np.testing.assert_allclose(decoupled(rewards, [1.0, 0.5]), [[0.707107, -0.707107]], rtol=1e-5)


def test_epsilon_is_added_to_both_stds():
    # 0.5 / (0.70711 + 0.5) = 0.41421; std of +-0.41421 is 0.58579; 0.41421 / (0.58579 + 0.5) = 0.38148
    np.testing.assert_allclose(decoupled([[[1.0, 0.0]]], [1.0], epsilon=0.5), [[0.381478, -0.381478]], rtol=1e-4)


def test_a_group_without_spread_is_exactly_zero():
    rewards = [[[1.0, 1.0], [0.1, 0.7]], [[0.3, 0.3], [0.2, 0.9]]]
    advantages = decoupled(rewards, [1.0, 0.3], epsilon=1e-4)
    assert advantages[0].tolist() == [0.0, 0.0]
    assert np.abs(advantages[1]).min() > 0
    assert decoupled([[[2.0, 2.0]]], [1.0], epsilon=0.0).tolist() == [[0.0, 0.0]]


def test_a_missing_reward_adds_nothing_and_a_completion_without_any_counts_nowhere():
    # first reward: 1, 0 of the first two, +-0.7071; second: 0 for the first, 1 for the third, -+0.7071; fourth: none.
    # S = 0, -0.7071, 0.7071; ddof 1 over three: std sqrt(1 / 2); S / std = 0, -1, 1
    rewards = [[[1.0, 0.0, MISSING, MISSING]], [[0.0, MISSING, 1.0, MISSING]]]
    np.testing.assert_allclose(decoupled(rewards, [1.0, 1.0]), [[0.0, -1.0, 1.0, 0.0]], atol=1e-6)


def test_the_papers_formula_mean_of_the_batch_included():
    # what is left out, the batch's mean, is 0
    rng = np.random.default_rng(0)
    rewards, weights = rng.normal(size=(3, 4, 5)).round(1), np.array([1.0, 0.3, 0.2])
    each = (rewards - rewards.mean(axis=2, keepdims=True)) / (rewards.std(axis=2, ddof=1, keepdims=True) + 1e-4)
    summed = (weights[:, None, None] * each).sum(axis=0)
    expected = (summed - summed.mean()) / (summed.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(decoupled(rewards.tolist(), weights.tolist(), epsilon=1e-4), expected, atol=1e-5)


def test_decoupled_shapes_are_checked():
    with pytest.raises(ValueError, match="rewards must be"):
        decoupled_advantages(mx.zeros((2, 3)), mx.zeros(2))
    with pytest.raises(ValueError, match="rewards must be"):
        decoupled_advantages(mx.zeros((2, 3, 4)), mx.zeros(3))


# The other estimators, against float64


def samples_of(seed, shape=(5, 8)):
    """Rewards with ties, missing ones and a group without any spread."""
    random = np.random.default_rng(seed)
    rewards = random.choice([0.0, 0.3, 1.0, 1.5], shape)
    rewards[0] = 1.0
    rewards[1, :3] = np.nan
    return rewards


def present_rows(rewards, function):
    """`function` of each group's present rewards; 0 at missing ones."""
    advantages = np.zeros(rewards.shape)
    for row, mine in zip(rewards, advantages, strict=True):
        there = ~np.isnan(row)
        mine[there] = function(row[there])
    return advantages


def best_of_k(row, k):
    """By going through all sets of k."""
    sets = list(itertools.combinations(range(len(row)), k))
    bests = np.array([max(row[i] for i in chosen) for chosen in sets])
    own = np.array(
        [np.mean([b for b, chosen in zip(bests, sets, strict=True) if i in chosen]) for i in range(len(row))]
    )
    return (own - bests.mean()) / (bests.std() + 1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_estimators_against_float64(seed):
    rewards = samples_of(seed)
    given = mx.array(rewards.astype(np.float32))
    rloo = present_rows(rewards, lambda r: r - (r.sum() - r) / (len(r) - 1))
    np.testing.assert_allclose(np.array(leave_one_out_advantages(given)), rloo, rtol=1e-5, atol=1e-6)
    max_rl = present_rows(rewards, lambda r: (r - r.mean()) / (r.mean() + 1e-4))
    np.testing.assert_allclose(np.array(maximum_likelihood_advantages(given)), max_rl, rtol=1e-5, atol=1e-6)
    there = ~np.isnan(rewards)
    whitened = np.where(there, (rewards - rewards[there].mean()) / (rewards[there].std(ddof=1) + 1e-4), 0)
    np.testing.assert_allclose(np.array(whitened_advantages(given)), whitened, rtol=1e-5, atol=1e-6)
    centred = present_rows(rewards, lambda r: r - r.mean())
    whitened = centred / (np.sqrt((centred**2).sum() / (there.sum() - 1)) + 1e-4)
    np.testing.assert_allclose(np.array(whitened_advantages(given, baseline=True)), whitened, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_pass_at_k_against_all_sets(k):
    rewards = samples_of(k)
    expected = present_rows(rewards, lambda r: best_of_k(r, k))
    np.testing.assert_allclose(
        np.array(pass_at_k_advantages(mx.array(rewards.astype(np.float32)), k)), expected, rtol=1e-4, atol=1e-5
    )


def test_pass_at_k_of_one_success_in_four():
    # k = 2: E[best] = 1 - C(3, 2) / C(4, 2) = 1/2, std 1/2; the success: (1 - 1/2) / (1/2) = 1;
    # a failure: 1 - C(2, 1) / C(3, 1) = 1/3, (1/3 - 1/2) / (1/2) = -1/3
    advantages = pass_at_k_advantages(mx.array([[1.0, 0.0, 0.0, 0.0]]), 2, epsilon=0.0)
    np.testing.assert_allclose(np.array(advantages)[0], [1, -1 / 3, -1 / 3, -1 / 3], rtol=1e-6)


def test_equal_rewards_are_worth_nothing_exactly():
    equal = mx.full((3, 7), 0.1)
    for advantages in (
        leave_one_out_advantages(equal),
        whitened_advantages(equal),
        whitened_advantages(equal, baseline=True),
        maximum_likelihood_advantages(equal),
        pass_at_k_advantages(equal, 3),
    ):
        assert np.array(advantages).tolist() == [[0.0] * 7] * 3


def test_fewer_rewards_than_a_set_has_are_worth_nothing():
    rewards = mx.array([[1.0, 0.0, math.nan, math.nan], [1.0, 0.0, 0.0, 0.0]])
    advantages = np.array(pass_at_k_advantages(rewards, 3))
    assert (advantages[0] == 0).all() and (advantages[1] != 0).all()
    with pytest.raises(ValueError, match="k must be between 1 and the 4 samples of a group, got 5"):
        pass_at_k_advantages(rewards, 5)
