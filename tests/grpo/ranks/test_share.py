"""Which rows a rank learns from."""

import pytest

from grpo.ranks.share import own_rows


def cut(tiny, lengths, credits, size, keep_zero=False):
    """Return for each rank the rows it learns from, as (group, completion, credit)."""
    groups = [
        tiny.group([10 + at], [[20 + row] * length for row, length in enumerate(group)])
        for at, group in enumerate(lengths)
    ]
    found = []
    for rank in range(size):
        own, own_credits = own_rows(groups, credits, rank=rank, size=size, keep_zero=keep_zero)
        found.append(
            [
                (group.prompt.tokens[0] - 10, rollout.tokens[0] - 20, credit)
                for group, row in zip(own, own_credits, strict=True)
                for rollout, credit in zip(group.rollouts, row, strict=True)
            ]
        )
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_all_ranks_together_have_every_row_once(tiny, size):
    lengths = [[3, 4], [9, 1], [2, 2], [5, 5]]
    credits = [[1.0, -1.0], [2.0, -2.0], [3.0, -3.0], [0.0, 0.0]]
    rows = [row for rank in cut(tiny, lengths, credits, size) for row in rank]
    assert sorted(rows) == sorted((g, r, credits[g][r]) for g in range(4) for r in range(2))


def test_tokens_are_shared_out_evenly(tiny):
    # costs with the prompt's token: 11, 7, 5, 3; the first rank takes 11, the second 7 and 5, the first 3: 14 and 12
    found = cut(tiny, [[5, 5], [3, 3], [2, 2], [1, 1]], [[1.0, -1.0]] * 4, 2)
    assert [sorted({group for group, _, _ in rank}) for rank in found] == [[0, 3], [1, 2]]


def test_rows_that_teach_nothing_cost_nothing(tiny):
    # group 0 has no credit: costs 0, 7, 5, 3; 7 | 5 and 3, and the free group to the one with least: 7 or 8
    found = cut(tiny, [[9, 9], [3, 3], [2, 2], [1, 1]], [[0.0, 0.0], *[[1.0, -1.0]] * 3], 2)
    assert [sorted({group for group, _, _ in rank}) for rank in found] == [[0, 1], [2, 3]]


def test_fewer_groups_than_ranks_are_cut(tiny):
    found = cut(tiny, [[1, 1, 1, 1]], [[1.0, 2.0, 3.0, 4.0]], 2)
    assert found == [[(0, 0, 1.0), (0, 2, 3.0)], [(0, 1, 2.0), (0, 3, 4.0)]]


def test_a_group_that_alone_teaches_is_cut(tiny):
    # whole: 1 + 4 * 5 = 21 tokens for one rank and none for the other; cut: 1 + 2 * 5 = 11 for each
    found = cut(tiny, [[5, 5, 5, 5], [5, 5, 5, 5]], [[1.0, -1.0, 1.0, -1.0], [0.0] * 4], 2)
    assert [[row for row in rank if row[0] == 0] for rank in found] == [
        [(0, 0, 1.0), (0, 2, 1.0)],
        [(0, 1, -1.0), (0, 3, -1.0)],
    ]


def test_a_long_prompt_is_not_computed_twice(tiny):
    groups = [tiny.group(list(range(100)), [[20], [21]]), tiny.group([10], [[22], [23]])]
    found = [own_rows(groups, [[1.0, -1.0]] * 2, rank=rank, size=2, keep_zero=False)[0] for rank in range(2)]
    assert [[len(group.rollouts) for group in own] for own in found] == [[2], [2]]  # 102 and 3, not 102 and 102
