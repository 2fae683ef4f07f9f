"""Micro-batches: every row once, within the budget, a prompt's rows next to each other."""

import random

import pytest

from grpo.learner.batching import pack
from grpo.types import Segment


def groups_of(tiny, lengths, prompts=(5, 3)):
    """One group a prompt; completion i of group g is made of the token 10 * (g + 1) + i, stop token included."""
    return [
        tiny.group([8] * prompt, [[10 * (g + 1) + i] * (length - 1) + [2] for i, length in enumerate(rows)])
        for g, (prompt, rows) in enumerate(zip(prompts, lengths, strict=True))
    ]


def advantages_of(groups):
    """Another for every row: 1.0, 1.1, ... and 2.0, 2.1, ..."""
    return [[g + 1 + i / 10 for i in range(len(group.rollouts))] for g, group in enumerate(groups)]


def rows_of(bundles: list[tuple[Segment, ...]]):
    """(prompt, completion, sampler logprobs, advantage) of every row."""
    return sorted(
        (segment.prompts[i // segment.samples], *row)
        for bundle in bundles
        for segment in bundle
        for i, row in enumerate(zip(segment.completions, segment.sampler_logprobs, segment.advantages, strict=True))
    )


def cost(segment, bundle):
    """Padded tokens; a prompt whose group comes in several segments is run apart from them."""
    prompt = max(map(len, segment.prompts)) if len(bundle) == 1 else 0
    return len(segment.prompts) * (prompt + segment.samples * max(segment.lengths))


@pytest.mark.parametrize("budget", [1, 12, 20, 40, 100, 10_000])
def test_every_row_comes_once_with_what_belongs_to_it(tiny, budget):
    groups = groups_of(tiny, [[4, 9, 2, 7], [3, 3, 12, 1]])
    advantages = advantages_of(groups)
    expected = sorted(
        (group.prompt.tokens, rollout.tokens, rollout.logprobs, advantage)
        for group, row in zip(groups, advantages, strict=True)
        for rollout, advantage in zip(group.rollouts, row, strict=True)
    )
    assert rows_of(pack(groups, advantages, token_budget=budget)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_no_segment_exceeds_the_budget_but_a_lone_row(tiny, seed):
    rng = random.Random(seed)
    groups = groups_of(
        tiny, [[rng.randint(1, 30) for _ in range(6)] for _ in range(8)], [rng.randint(1, 20) for _ in range(8)]
    )
    for bundle in pack(groups, advantages_of(groups), token_budget=60):
        for segment in bundle:
            assert cost(segment, bundle) <= 60 or len(segment.completions) == 1
            assert len(segment.completions) == segment.samples * len(segment.prompts)
            assert len(bundle) == 1 or segment.prompts == bundle[0].prompts


def test_groups_that_fit_run_together(tiny):
    # (5 + 2 * 4) twice, the shorter prompt padded: 26 tokens
    groups = groups_of(tiny, [[4, 4], [4, 4]])
    assert len(pack(groups, advantages_of(groups), token_budget=26)) == 1
    assert len(pack(groups, advantages_of(groups), token_budget=25)) == 2


def test_a_group_too_large_is_cut_by_length(tiny):
    # prompt 5 + 4 * 9 = 41 > 23; sorted 1, 2, 9, 9: 2 * 2 = 4, with a third row 3 * 9 = 27 > 23 >= 2 * 9
    groups = groups_of(tiny, [[9, 1, 9, 2]], [5])
    (bundle,) = pack(groups, [[1, 1, 1, 1]], token_budget=23)
    assert [segment.lengths for segment in bundle] == [[1, 2], [9, 9]]


def test_truncated_rows_are_left_out_on_request(tiny):
    groups = [tiny.group([8], [[11, 2], [12, 13], [14, 2]])]  # the second has no stop token
    kept = pack(groups, [[1, 2, 3]], token_budget=100, keep_truncated=False)
    assert [segment.completions for (segment,) in kept] == [((11, 2), (14, 2))]
    assert kept[0][0].advantages == (1, 3)


def test_rows_of_advantage_zero_are_left_out_on_request(tiny):
    groups = groups_of(tiny, [[2, 3], [2, 3]])
    kept = pack(groups, [[0.0, 0.0], [0.0, -1.0]], token_budget=100, keep_zero=False)
    assert [(segment.prompts, segment.advantages) for (segment,) in kept] == [(((8, 8, 8),), (-1.0,))]


def test_nothing_to_learn_gives_no_segment(tiny):
    groups = groups_of(tiny, [[2, 3], [2, 3]])
    assert pack(groups, [[0.0, 0.0], [0.0, 0.0]], token_budget=100, keep_zero=False) == []


def test_a_lone_group_is_cut_evenly_for_the_lanes(tiny):
    groups = groups_of(tiny, [[64] * 16], [130])
    (bundle,) = pack(groups, [[1.0] * 16], token_budget=4096, lanes=2)
    assert [segment.lengths for segment in bundle] == [[64] * 8, [64] * 8]
    (bundle,) = pack(groups, [[1.0] * 16], token_budget=512, lanes=2)  # 256 each: 4 rows
    assert [segment.lengths for segment in bundle] == [[64] * 4] * 4


def test_the_last_round_of_lanes_is_full(tiny):
    # 16 x 100 in micro-batches of at most 600 tokens would be 6 + 6 + 4 rows; two rounds of two take 4 each
    groups = groups_of(tiny, [[100] * 16], [20])
    (bundle,) = pack(groups, [[1.0] * 16], token_budget=1200, lanes=2)
    assert [len(segment.lengths) for segment in bundle] == [4, 4, 4, 4]


def test_rows_of_unlike_length_are_cut_into_like_work(tiny):
    lengths = [4 * i for i in range(1, 31)]
    (bundle,) = pack(groups_of(tiny, [lengths], [20]), [[1.0] * 30], token_budget=8192, lanes=2)
    work = [len(segment.lengths) * max(segment.lengths) for segment in bundle]
    assert len(work) == 2 and min(work) > 0.8 * max(work)


def test_little_work_keeps_to_one_lane(tiny):
    groups = groups_of(tiny, [[20] * 8], [100])
    assert [len(bundle) for bundle in pack(groups, [[1.0] * 8], token_budget=4096, lanes=2)] == [1]


def test_a_lone_group_that_is_mostly_prompt_is_not_cut(tiny):
    groups = groups_of(tiny, [[64] * 16], [1500])
    ((segment,),) = pack(groups, [[1.0] * 16], token_budget=8192, lanes=2)
    assert len(segment.completions) == 16


def test_whole_groups_share_the_lanes(tiny):
    groups = groups_of(tiny, [[64] * 8] * 4, [50] * 4)  # 562 tokens each
    bundles = pack(groups, advantages_of(groups), token_budget=2400, lanes=2)
    assert [[len(segment.prompts) for segment in bundle] for bundle in bundles] == [[2, 2]]


@pytest.mark.parametrize("seed", range(5))
def test_lanes_together_keep_to_the_budget(tiny, seed):
    rng = random.Random(seed)
    groups = groups_of(
        tiny, [[rng.randint(1, 90) for _ in range(6)] for _ in range(8)], [rng.randint(1, 60) for _ in range(8)]
    )
    bundles = pack(groups, advantages_of(groups), token_budget=800, lanes=2)
    assert rows_of(bundles) == rows_of(pack(groups, advantages_of(groups), token_budget=10_000))
    for bundle in bundles:
        apart = len({segment.prompts for segment in bundle}) == 1 and len(bundle) > 1
        for segment in bundle:
            prompt = 0 if apart else max(map(len, segment.prompts))
            assert len(segment.prompts) * (prompt + segment.samples * max(segment.lengths)) <= 400
