"""Values of steps or tokens, credited to the tokens that lead to them."""

from dataclasses import replace

import numpy as np
import pytest

from grpo.algorithms.process import process_credit, step_ends, steps_of
from grpo.config.sections import ConfigError

TEXTS = {4: "a ", 5: "b\n\n", 6: "c", 7: "</t>", 2: ""}


def decode(tokens):
    return "".join(TEXTS[token] for token in tokens)


def groups_of(tiny, *rows):
    group = tiny.group([1], rows)
    rollouts = tuple(replace(rollout, text=decode(rollout.tokens)) for rollout in group.rollouts)
    return [replace(group, rollouts=rollouts)]


def test_texts_are_cut_after_empty_lines_and_closing_tags():
    assert steps_of("a b\n\nc\n\n", "paragraph") == ["a b\n\n", "c\n\n"]
    assert steps_of("<t>x</t> y", "tag") == ["<t>x</t>", " y"]
    assert steps_of("", "paragraph") == [""]


def test_a_step_ends_with_the_token_that_completes_it(tiny):
    [group] = groups_of(tiny, [4, 5, 6, 2], [4, 6])
    first, second = group.rollouts
    assert step_ends(first, steps_of(first.text, "paragraph"), decode) == [2, 4]
    assert step_ends(second, steps_of(second.text, "paragraph"), decode) == [2]


def test_tokens_are_credited_with_the_steps_from_theirs_on(tiny):
    # values 1, 0 | 0: mean 1/3, std sqrt((4/9 + 1/9 + 1/9) / 2) = 0.577; normalised 1.155, -0.577 | -0.577
    groups = groups_of(tiny, [4, 5, 6, 2], [4, 6])
    seen = []

    def judge(prompts, completions, steps, completion_ids, **columns):
        seen.append((completions, steps))
        return [[1.0, 0.0], [0.0]]

    config = tiny.config(process_reward="mine:judge", process_weight=0.5)
    [credit], metrics = process_credit(judge, config, groups, [[1.0, -1.0]], decode)
    up, down = 0.5 * (2 / 3) / (0.57735 + 1e-4), -0.5 * (1 / 3) / (0.57735 + 1e-4)
    np.testing.assert_allclose(credit[0], [1 + up + down] * 2 + [1 + down] * 2, rtol=1e-5)
    np.testing.assert_allclose(credit[1], [-1 + down] * 2, rtol=1e-5)
    assert metrics == {"process/mean": pytest.approx(1 / 3), "process/steps": 3.0}
    assert seen[0][1] == [["a b\n\n", "c"], ["a c"]]


def test_tokens_and_rows_that_are_not_judged(tiny):
    groups = groups_of(tiny, [4, 6], [4, 6])
    config = tiny.config(process_reward="mine:judge", process_split="token")
    judge = lambda **_: [[1.0, 0.0], None]  # noqa: E731
    [credit], _ = process_credit(judge, config, groups, [[0.0, 2.0]], decode)
    # mean 1/2, std 0.707: 0.707 and -0.707; token 0 gets both, token 1 its own
    np.testing.assert_allclose(credit[0], [0.0, -0.5 / (0.5**0.5 + 1e-4)], rtol=1e-5, atol=1e-6)
    assert credit[1] == (2.0, 2.0)


def test_another_number_of_values_is_refused(tiny):
    groups = groups_of(tiny, [4, 6], [4, 6])
    config = tiny.config(process_reward="mine:judge")
    with pytest.raises(ConfigError, match="gave 2 values for 1 steps"):
        process_credit(lambda **_: [[1.0, 0.0], None], config, groups, [[0.0, 0.0]], decode)


def test_a_run_learns_from_tokens(runs):
    runs.module("mine", "def evens(completion_ids, **_):\n    return [[t % 2 for t in r] for r in completion_ids]")
    run = runs.run("steps=2", "process_reward=mine:evens", "process_split=token")
    assert run.code == 0 and all(0 < line["process/mean"] < 1 for line in run.metrics)
    row = next(iter(run.completions.values()))[0]
    assert len(row["advantage"]) == row["tokens"]
