"""Weighted rewards, and that no failure of one reaches the trainer."""

import itertools
import math
import threading
import time

import numpy as np
import pytest

from rewards import RewardSet
from rewards.base import Judged


def make(functions, weights=None, **options):
    return RewardSet(weights or dict.fromkeys(functions, 1.0), functions=functions, **options)


def score(rewards, rows=2, **columns):
    return rewards.score(["p"] * rows, ["c"] * rows, None, columns)


def constant(value):
    return lambda completions: [value] * len(completions)


def test_the_total_is_the_weighted_sum():
    # 1.0 * 1 + 0.3 * 0.5 + 0.2 * 0 = 1.15
    rewards = make(
        {"accuracy": constant(1.0), "format": constant(0.5), "language": constant(0.0)},
        {"accuracy": 1.0, "format": 0.3, "language": 0.2},
    )
    assert score(rewards).totals == pytest.approx([1.15, 1.15])


@pytest.mark.parametrize(("missing", "first"), [("exclude", None), ("zero", 3.0), ("ignore", 3.0)])
def test_none_touches_its_row_alone(missing, first):
    rewards = make({"a": lambda completions: [None, 2.0], "b": constant(3.0)}, missing=missing)
    assert score(rewards).totals == [first, 5.0]


def test_the_traceback_of_a_reward_that_raises_is_kept():
    scores = score(make({"a": raises, "b": constant(3.0)}))
    assert "in raises" in scores.tracebacks["a"] and scores.tracebacks.keys() == {"a"}


def test_a_row_without_any_reward_has_no_total():
    assert score(make({"a": constant(None)})).totals == [None, None]


def test_weight_zero_is_logged_and_not_counted():
    scores = score(make({"a": constant(1.0), "b": constant(9.0)}, {"a": 1.0, "b": 0.0}))
    assert scores.values["b"] == [9.0, 9.0]
    assert scores.totals == [1.0, 1.0]


def test_numbers_of_numpy_and_booleans_are_numbers():
    assert score(make({"a": lambda completions: np.array([1, 0.5], dtype=np.float32)})).values["a"] == [1.0, 0.5]
    assert score(make({"a": lambda completions: (True, np.bool_(True))})).values["a"][0] == 1.0


def raises(completions):
    raise KeyError("broken\nreward")


def exits(completions):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "kind", "count", "said"),
    [
        (raises, "raised", 2, "raised KeyError"),
        (exits, "raised", 2, "raised SystemExit: 3"),
        (lambda completions: [1.0], "wrong_length", 2, "returned 1 values for 2 completions"),
        (lambda completions: None, "not_a_list", 2, "returned NoneType"),
        (lambda completions: "ab", "not_a_list", 2, "returned str"),
        (lambda completions: {"a": 1, "b": 2}, "not_a_list", 2, "returned dict"),
        (lambda completions: ["x", 1.0], "not_a_number", 1, "value 0 is 'x' (str)"),
        (lambda completions: [math.nan, 1.0], "not_finite", 1, "value 0 is nan"),
        (lambda completions: [1.0, math.inf], "not_finite", 1, "value 1 is inf"),
        (lambda completions: [1e300, 1.0], "too_large", 1, "value 0 is 1e+300, over 1e+15"),
        (lambda completions: [1.0, -(10**400)], "too_large", 1, "value 1 is 1.79769e+308, over 1e+15"),
        (lambda completions: itertools.count(), "wrong_length", 2, "more than 2 values for 2 completions"),
        (lambda completions: (1.0 for _ in iter(int, 1)), "wrong_length", 2, "more than 2 values"),
        (lambda completions: [[1.0], 1.0], "not_a_number", 1, "value 0 is [1.0] (list)"),
        (lambda completions: [1j, 1.0], "not_a_number", 1, "value 0 is 1j (complex)"),
        (lambda completions: [b"1", 1.0], "not_a_number", 1, "value 0 is b'1' (bytes)"),
        (lambda completions, missing: [1.0], "raised", 2, "missing"),
    ],
)
def test_a_failure_is_none_counted_and_said_once(function, kind, count, said):
    scores = score(make({"bad": function, "good": constant(1.0)}))
    assert scores.failures == {f"bad/{kind}": count}
    assert scores.values["bad"].count(None) == count
    assert scores.values["good"] == [1.0, 1.0]
    assert list(scores.messages) == [f"bad/{kind}"]
    assert said in scores.messages[f"bad/{kind}"]
    assert "\n" not in scores.messages[f"bad/{kind}"]


def test_a_total_that_training_can_not_square_is_named_by_the_reward_that_makes_it():
    rewards = make({"small": constant(1.0), "large": constant(1e9)}, weights={"small": 1.0, "large": 1e9})
    scores = score(rewards)  # 1e9 * 1e9 = 1e18, over 1e15
    assert scores.values["large"] == [1e9, 1e9] and scores.totals == [None, None]
    assert scores.failures == {"large/total_too_large": 2}
    assert "reward large: with its weight 1e+09 it makes totals over 1e+15" in scores.messages["large/total_too_large"]


def test_what_a_reward_does_to_its_arguments_is_its_own_affair():
    def edits(prompts, completions, answer, **columns):
        completions.clear()
        prompts[:] = ["?"]
        answer[0]["gold"] = "wrong"
        answer.append(None)
        return [1.0, 1.0]

    seen = []

    def looks(prompts, completions, answer, **columns):
        time.sleep(0.2)
        seen.extend([list(prompts), list(completions), [dict(one) for one in answer]])
        return [1.0, 1.0]

    rewards = make({"edits": edits, "looks": looks})
    given = {"answer": [{"gold": "a"}, {"gold": "b"}]}
    scores = rewards.score(["p", "q"], ["c", "d"], columns=given)
    assert scores.failures == {}
    assert seen == [["p", "q"], ["c", "d"], [{"gold": "a"}, {"gold": "b"}]]
    assert given == {"answer": [{"gold": "a"}, {"gold": "b"}]}


def test_a_hanging_reward_does_not_block_and_is_skipped_until_it_returns():
    release = threading.Event()
    calls = []

    def hangs(completions):
        calls.append(1)
        release.wait(30)
        return [1.0] * len(completions)

    rewards = make({"hangs": hangs, "good": constant(1.0)}, timeout_seconds=0.2)
    started = time.monotonic()
    first, second = score(rewards), score(rewards)
    assert time.monotonic() - started < 2
    assert first.failures == second.failures == {"hangs/timeout": 2}
    assert first.totals == [1.0, 1.0]
    assert len(calls) == 1
    release.set()
    time.sleep(0.1)
    assert score(rewards).totals == [2.0, 2.0]


def test_rewards_in_the_trainer_run_side_by_side():
    def waits(completions):
        time.sleep(0.3)
        return [1.0] * len(completions)

    started = time.monotonic()
    score(make({name: waits for name in "abcd"}, process="trainer"))
    assert time.monotonic() - started < 1.0


def test_what_a_reward_reports_is_counted_under_its_name():
    def judged(completions):
        return Judged([1.0, None], outcomes={"ok": 1, "gold_bad": 1}, messages={"gold_bad": "can't read it"})

    scores = score(make({"a": judged}))
    assert scores.outcomes == {"a/ok": 1, "a/gold_bad": 1}
    assert scores.failures == {"a/gold_bad": 1}
    assert scores.messages == {"a/gold_bad": "reward a: can't read it"}


def test_columns_reach_the_reward():
    rewards = make({"a": lambda completions, answer: [float(value) for value in answer]})
    assert score(rewards, answer=[3, 4]).values["a"] == [3.0, 4.0]


def test_a_column_cannot_take_the_completions_place():
    rewards = make({"a": lambda prompts, completions: [float(completions == ["c", "c"] and prompts == ["p", "p"])] * 2})
    assert score(rewards, completions=["x", "x"], prompts=["y", "y"]).totals == [1.0, 1.0]


def test_scoring_works_from_several_threads():
    rewards = make({"a": lambda completions: [float(text) for text in completions]})
    results: dict[int, list[float | None]] = {}

    def run(number):
        results[number] = rewards.score(["p"] * 3, [str(number)] * 3).totals

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [float(number)] * 3 for number in range(8)}


def test_no_rows_are_no_error():
    assert score(make({"a": lambda completions: []}), rows=0).totals == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": {"format": math.nan}}, "reward_weights.format must be a finite number"),
        ({"weights": {"formatt": 1.0}}, "did you mean format"),
        ({"weights": {"format": 1.0}, "options": {"accuracy": {}}}, "accuracy, which has no weight"),
        ({"weights": {"format": 1.0}, "timeout_seconds": 0}, "timeout_seconds must be positive"),
    ],
)
def test_wrong_settings_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        RewardSet(**arguments)


def test_a_failure_of_the_whole_batch_shows_the_first_completion():
    scores = make({"bad": raises}).score(["p"], ["what the model said"])
    assert scores.messages["bad/raised"].endswith("(first completion ends in 'what the model said')")


def test_gates_and_bounds_change_what_counts_not_what_is_measured():
    rewards = make(
        {"accuracy": lambda completions: [1.0, 1.0], "format": lambda completions: [1.0, 0.0], "short": constant(-9.0)},
        {"accuracy": 1.0, "format": 0.5, "short": 0.1},
        gates={"accuracy": "format"},
        clip={"short": (-1.0, 0.0)},
    )
    scores = score(rewards)
    assert scores.values == {"accuracy": [1.0, 1.0], "format": [1.0, 0.0], "short": [-9.0, -9.0]}
    assert scores.counted == {"accuracy": [1.0, 0.0], "format": [1.0, 0.0], "short": [-1.0, -1.0]}
    assert scores.totals == pytest.approx([1.4, -0.1])  # 1 + 0.5 - 0.1 and 0 + 0 - 0.1
    assert scores.applied == {"accuracy/gated": 1, "short/clipped": 2}
