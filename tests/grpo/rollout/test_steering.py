"""Rollouts of a part of a data set, and rows that are made to write other tokens than they drew."""

import pytest

from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling


def sample(policy, prompts, **changes):
    settings = {"samples": 3, "max_tokens": 12, "sampling": Sampling(1.0), "seed": 5, "max_rows": 64, **changes}
    found = sorted(generate(policy, prompts, Request(**settings)), key=lambda pair: pair[0])
    return [[rollout.tokens for rollout in group.rollouts] for _, group in found]


def test_a_part_of_the_prompts_keeps_their_completions(tiny):
    policy, prompts = tiny.policy(), tiny.prompts([9, 3, 6, 4])
    whole = sample(policy, prompts)
    assert sample(policy, [prompts[3], prompts[1]], numbers=(3, 1)) == [whole[3], whole[1]]
    assert sample(policy, [prompts[3], prompts[1]]) != [whole[3], whole[1]]


def test_a_row_that_steers_nothing_writes_what_it_drew(tiny):
    policy, prompts = tiny.policy(), tiny.prompts([9, 3])
    assert sample(policy, prompts, steer=lambda: lambda token: (token,)) == sample(policy, prompts)


def never_stopping(stops, instead):
    """A steer that writes `instead` where a row would have stopped."""
    return lambda: lambda token: instead if token in stops else (token,)


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("max_rows", [3, 64])
def test_written_tokens_take_the_place_of_the_drawn_ones(tiny, max_rows, shares):
    policy, prompts = tiny.policy(shares=shares), tiny.prompts([9, 3, 6])
    drawn = sample(policy, prompts, max_rows=max_rows)
    steered = sample(policy, prompts, max_rows=max_rows, steer=never_stopping(tiny.stops, (11, 12)))
    stopped = 0
    for before, after in zip([row for g in drawn for row in g], [row for g in steered for row in g], strict=True):
        assert len(after) == 12 and not set(after) & set(tiny.stops)
        if before[-1] in tiny.stops and len(before) < 11:
            stopped += 1
            assert after[: len(before) + 1] == (*before[:-1], 11, 12)
        else:
            assert after[: len(before) - 1] == before[:-1]
    assert stopped >= 3


def test_what_follows_is_conditioned_on_what_was_written(tiny, whole_rows):
    policy, prompt = tiny.policy(), tiny.prompts([6])[0]
    steer = never_stopping(tiny.stops, (11, 12, 13))
    greedy = sample(policy, [prompt], samples=1, sampling=Sampling(0.0), steer=steer)[0][0]
    written = sample(policy, [prompt], samples=1, sampling=Sampling(0.0), steer=lambda: _after(3, (11, 12, 13)))[0][0]
    row, text = [], list(prompt.tokens)
    for place in range(12):  # one row, no cache
        token = (11, 12, 13)[place - 3] if 3 <= place < 6 else int(policy.model(_batch(text))[0, -1].argmax().item())
        row.append(token)
        text.append(token)
        if token in tiny.stops:
            break
    assert written == tuple(row)
    assert not set(greedy) & set(tiny.stops)


def _batch(tokens):
    import mlx.core as mx

    return mx.array([tokens])


def _after(count, instead):
    """A steer that writes `instead` after `count` tokens, once."""
    seen = []

    def steer(token):
        seen.append(token)
        return instead if len(seen) == count + 1 else (token,)

    return steer
