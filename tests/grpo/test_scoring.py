"""Rewards of groups."""

import math
from dataclasses import replace

import numpy as np
import pytest

from envs import Task
from grpo.config import Config
from grpo.scoring import GroupScores, Scorer, coin_flips, counted_rewards, hand_over, totals
from rewards import RewardSet


@pytest.fixture
def group(tiny):
    made = tiny.group([11, 12], [[21, 22, 2], [31, 2], [41, 42]])
    texts = ("21 22", "31", "41 42")
    return replace(
        made,
        prompt=tiny.prompt([11, 12], answer="31"),
        rollouts=tuple(replace(rollout, text=text) for rollout, text in zip(made.rollouts, texts, strict=True)),
    )


def scored(group, function, weight=1.0):
    scorer = Scorer(RewardSet({"mine": weight}, timeout_seconds=5, functions={"mine": function}))
    try:
        return scorer.submit(group).result(timeout=10)
    finally:
        scorer.close()


def test_a_reward_is_handed_what_trl_would_hand_it(group):
    seen = {}

    def mine(prompts, completions, completion_ids, **columns):
        seen.update(prompts=prompts, completions=completions, ids=completion_ids, **columns)
        return [1.0, 0.0, None]

    result = scored(group, mine, weight=2.0)
    assert {"trainer_state", "log_extra", "log_metric"} <= set(seen)
    assert {name: seen[name] for name in seen if name not in ("trainer_state", "log_extra", "log_metric")} == {
        "prompts": ["11 12"] * 3,
        "completions": ["21 22", "31", "41 42"],
        "ids": [[21, 22, 2], [31, 2], [41, 42]],  # the stop token is part of the completion
        "answer": ["31"] * 3,
        "rendered_prompts": ["11 12"] * 3,
    }
    assert (result.values, result.totals) == ({"mine": [1.0, 0.0, None]}, [2.0, 0.0, None])


def test_a_conversation_is_handed_over_as_messages(group):
    messages = [{"role": "user", "content": "11 12"}]
    task = Task("1", messages, {})
    seen = []

    def mine(prompts, completions, **_):
        seen.append((prompts[0], completions[1]))
        return [0.0] * 3

    scored(replace(group, prompt=replace(group.prompt, task=task)), mine)
    assert seen == [(messages, [{"role": "assistant", "content": "31"}])]


@pytest.mark.parametrize("prompt", ["2+3?", [{"role": "user", "content": "2+3?"}]])
def test_an_answer_inside_the_thinking_that_the_template_opened_is_not_paid(group, prompt):
    shown = replace(group.prompt, task=Task("1", prompt, {"answer": "5"}), text="<user>2+3?<assistant><think>\n")
    texts = (r"so \boxed{5}", r"so</think>\boxed{5}", "so</think>5")  # the first is cut off in its thinking
    rollouts = tuple(replace(rollout, text=text) for rollout, text in zip(group.rollouts, texts, strict=True))
    scorer = Scorer(RewardSet({"accuracy": 1.0}))
    try:
        assert scorer.score(replace(group, prompt=shown, rollouts=rollouts)).totals == [0.0, 1.0, 1.0]
    finally:
        scorer.close()


def test_a_rendered_prompt_does_not_take_the_place_of_the_tasks_own(group):
    prompts, _, columns = hand_over(Task("1", "2+3?"), "<user>2+3?<assistant>", ["5"], max_completion_length=None)
    assert (prompts, columns) == (["2+3?"], {"rendered_prompts": ["<user>2+3?<assistant>"]})


def test_a_completion_begins_with_the_message_it_goes_on_with():
    messages = [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "<think>\nSum:"}]
    shown = "<user>2+3?<assistant><think>\nSum:"
    prompts, completions, columns = hand_over(Task("1", messages), shown, [" 5"], max_completion_length=None)
    assert prompts == [messages[:1]]
    assert completions == [[{"role": "assistant", "content": "<think>\nSum: 5"}]]
    assert columns == {"rendered_prompts": ["<user>2+3?<assistant>"]}


def test_a_reward_that_raises_is_counted_and_left_out(group):
    def mine(**_):
        raise ZeroDivisionError("by zero")

    result = scored(group, mine)
    assert result.totals == [None] * 3
    assert result.failures == {"mine/raised": 3}
    assert result.messages == {
        "mine/raised": "reward mine: raised ZeroDivisionError: by zero (first completion ends in '21 22')"
    }


def test_totals_hold_nan_where_there_is_no_reward():
    one, other = (GroupScores({}, values, {}, {}) for values in ([1.0, None], [0.0, 0.5]))
    array = totals([one, other])
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [[1.0, math.nan], [0.0, 0.5]])


def test_what_counts_is_stacked_by_reward_without_those_of_weight_zero():
    groups = [
        GroupScores({}, [], {}, {}, {"accuracy": [1.0, None], "measured": [5.0, 5.0], "format": [0.0, 1.0]}),
        GroupScores({}, [], {}, {}, {"accuracy": [0.0, 1.0], "measured": [5.0, 5.0], "format": [1.0, 1.0]}),
    ]
    names, values, weights = counted_rewards(groups, {"accuracy": 1.0, "measured": 0.0, "format": 0.5})
    np.testing.assert_array_equal(values, [[[1.0, math.nan], [0.0, 1.0]], [[0.0, 1.0], [1.0, 1.0]]])
    assert names == ["accuracy", "format"]
    np.testing.assert_array_equal(weights, [1.0, 0.5])


def test_the_length_rewards_learn_the_token_limit(group):
    scorer = Scorer(RewardSet({"overlong": 1.0}, {"overlong": {"buffer": 2}}), max_completion_length=3)
    try:
        # 3, 2 and 2 tokens; max 3, buffer 2: (1 - 2) / 2 for the short ones
        assert scorer.score(group).totals == [-1.0, -0.5, -0.5]
    finally:
        scorer.close()


def test_coin_flips_are_fair_and_of_the_seed_and_step():
    config = Config(prompts_per_step=50, num_generations=40, seed=3)
    flips = coin_flips(config, 0)
    assert flips.shape == (50, 40) and set(np.unique(flips)) == {0.0, 1.0}
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / math.sqrt(2000)  # five standard errors
    np.testing.assert_array_equal(flips, coin_flips(config, 0))
    assert (flips != coin_flips(config, 1)).any()
    assert (flips != coin_flips(Config(prompts_per_step=50, num_generations=40, seed=4), 0)).any()
