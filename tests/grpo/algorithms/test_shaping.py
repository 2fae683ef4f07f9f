"""Which tokens of an update are learned from, by entropy or covariance."""

from dataclasses import replace

import numpy as np
import pytest

from grpo.algorithms.shaping import shaped


@pytest.fixture
def groups(tiny):
    """Two rollouts of 3 and 2 tokens; entropies 0 .. 4 in order; logprobs -1 .. -5."""
    [group] = [tiny.group([1], [[4, 5, 2], [6, 2]])]
    rows = [((0.0, 1.0, 2.0), (-1.0, -2.0, -3.0)), ((3.0, 4.0), (-4.0, -5.0))]
    rollouts = tuple(
        replace(rollout, entropies=entropies, logprobs=logprobs)
        for rollout, (entropies, logprobs) in zip(group.rollouts, rows, strict=True)
    )
    return [replace(group, rollouts=rollouts)]


def test_nothing_is_touched_by_default(tiny, groups):
    credits = [[1.0, -1.0]]
    assert shaped(groups, credits, tiny.config(), (0,)) == (groups, credits, {})


def test_the_tokens_of_the_highest_entropy_keep_their_credit(tiny, groups):
    # the top 40% of 5 tokens: quantile 0.6 of 0 .. 4 is 2.4
    _, credits, metrics = shaped(groups, [[1.0, -1.0]], tiny.config(top_entropy_quantile=0.4), (0,))
    assert credits == [[(0.0, 0.0, 0.0), (-1.0, -1.0)]]
    assert metrics == {"entropy/least_learned": pytest.approx(2.4)}


def test_context_tokens_do_not_count(tiny, groups):
    [group] = groups
    rollouts = (group.rollouts[0], replace(group.rollouts[1], mask=(1, 0)))
    _, credits, _ = shaped(
        [replace(group, rollouts=rollouts)], [[1.0, -1.0]], tiny.config(top_entropy_quantile=0.25), (0,)
    )
    assert credits[0][1][0] == -1.0 and credits[0][0] == (0.0, 0.0, 0.0)  # of 0 .. 3 only 3 is in the top quarter


def test_clip_cov_takes_the_credit_of_covariant_tokens(tiny, groups):
    # logprobs less their mean -3: 2 1 0 -1 -2; credit 1 1 1 -1 -1 less 0.2: products 1.6 0.8 0 1.2 2.4
    config = tiny.config(covariance="clip_cov", covariance_share=1.0, covariance_range=(1.0, 2.0))
    found, credits, metrics = shaped(groups, [[1.0, -1.0]], config, (0,))
    assert credits == [[(0.0, 1.0, 1.0), (0.0, -1.0)]] and metrics == {"covariance/chosen": 2.0}
    assert found == groups
    few = tiny.config(covariance="clip_cov", covariance_share=0.2, covariance_range=(1.0, 2.0))
    drawn = {str(shaped(groups, [[1.0, -1.0]], few, (seed,))[1]) for seed in range(20)}
    assert len(drawn) == 2  # one of the two, by the seed


def test_kl_cov_marks_the_most_covariant_tokens(tiny, groups):
    config = tiny.config(covariance="kl_cov", covariance_share=0.4)
    [found], credits, _ = shaped(groups, [[1.0, -1.0]], config, (0,))
    assert [rollout.penalised for rollout in found.rollouts] == [(1, 0, 0), (0, 1)]
    assert np.concatenate(credits[0]).tolist() == [1.0, 1.0, 1.0, -1.0, -1.0]
