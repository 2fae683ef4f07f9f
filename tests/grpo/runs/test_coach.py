"""The doctor's findings come as warnings while a run goes: when they should, not too often, the same after a resume."""

import json
import math

import pytest

from grpo.config import Config
from grpo.runs.coach import Coach

HEALTHY = {
    "reward": 0.6,
    "reward_std": 0.5,
    "rewards/accuracy/mean": 0.4,
    "rewards/accuracy/max": 1.0,
    "rewards/format/mean": 0.5,
    "frac_reward_zero_std": 0.2,
    "completions/clipped_ratio": 0.1,
    "completions/mean_length": 40.0,
    "entropy": 0.8,
    "grad_norm": 0.3,
    "sampling/mismatch_k3": 1e-8,
    "updates/dropped": 0.0,
    "kl": 0.01,
}


def told(history, config=None):
    """All warnings of a history, as (step, text)."""
    coach = Coach(config or Config())
    return [(step, text) for step, metrics in enumerate(history, 1) for text in coach.look(step, metrics)]


def steps(count, **changes):
    """Healthy steps with these metrics changed; `a__b` stands for `a/b`."""
    return [HEALTHY | {name.replace("__", "/"): value for name, value in changes.items()}] * count


def test_a_healthy_run_hears_nothing():
    run = [
        HEALTHY
        | {"reward": 0.3 + 0.011 * step, "rewards/accuracy/mean": 0.3 + 0.006 * step, "entropy": 0.8 - 0.006 * step}
        for step in range(100)
    ]
    assert told(run) == []


def test_an_empty_step_hears_nothing():
    assert told([{}, {}, {}, {}]) == []


def test_equal_groups_that_are_all_right_are_too_easy():
    right = {"frac_reward_zero_std": 1.0, "rewards__accuracy__mean": 1.0}
    (step, text), *rest = told(steps(3, **right))
    assert (step, rest) == (3, [])  # only after three steps
    assert "too easy (accuracy 1.00" in text and "data_options" in text


def test_equal_groups_that_are_all_wrong_are_too_hard():
    ((_, text),) = told(steps(3, frac_reward_zero_std=0.95, rewards__accuracy__mean=0.0, rewards__accuracy__max=0.0))
    assert "too hard" in text and "95%" in text


def test_everything_truncated():
    ((_, text),) = told(steps(1, completions__clipped_ratio=0.9), Config(max_completion_length=77))
    assert "90%" in text and "max_completion_length 77" in text and "template" in text


def test_format_rises_while_accuracy_stays_zero():
    run = [
        HEALTHY | {"rewards/accuracy/mean": 0.01, "rewards/accuracy/max": 1.0, "rewards/format/mean": 0.1 + 0.02 * step}
        for step in range(25)
    ]
    texts = [text for _, text in told(run)]
    assert any(text.startswith("format farmed") and "reward_gates" in text for text in texts)


def test_sampler_and_trainer_disagree():
    ((_, text),) = told(steps(1, sampling__mismatch_k3=0.02))
    assert "0.02" in text and "merge_adapter" in text


@pytest.mark.parametrize("changes", [{"num_updates": 2}, {"num_iterations": 2}])
def test_later_updates_of_a_batch_may_differ_from_the_sampler(changes):
    assert told(steps(1, sampling__mismatch_k3=0.5), Config(**changes)) == []
    assert len(told(steps(1, sampling__first_update_k3=0.5), Config(**changes))) == 1


def test_a_collapse_names_what_fell_and_the_rate_to_try():
    fall = steps(5, reward=0.0, rewards__accuracy__mean=0.0, rewards__format__mean=0.0, kl=4.0, entropy=3.0)
    texts = [
        text
        for _, text in told([*steps(8, reward=1.2, rewards__accuracy__mean=0.8), *fall], Config(learning_rate=3e-4))
    ]
    assert texts and texts[0].startswith("learning rate too high: the KL to the start reached 4 nats a token")
    assert "Try learning_rate=3e-05" in texts[0]


def test_a_small_reward_that_wavers_has_not_collapsed():
    assert told([*steps(5, reward=0.1), *steps(5, reward=0.0)]) == []


def test_failing_rewards_are_named():
    history = steps(1, **{"rewards__failed__accuracy__timeout": 3.0, "rewards__failed__my.module:f__raised": 16.0})
    (text,) = (text for _, text in told(history))
    assert "reward my.module:f reported raised for 16 completion(s)" in text and "reward_timeout_seconds" in text


def test_a_kind_is_not_repeated_for_20_steps():
    assert [step for step, text in told(steps(41, kl=11.0)) if text.startswith("KL blow-up")] == [1, 21, 41]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_is_no_metric(value):
    assert told([dict.fromkeys(HEALTHY, value)] * 12) == []


def test_a_replayed_coach_goes_on_as_if_never_stopped():
    run = [*steps(5, reward=0.8), *steps(30, reward=0.1, kl=11.0, entropy=1 / 3 * 0.1)]
    whole = told(run)
    resumed = Coach(Config())
    for step, metrics in enumerate(run[:12], 1):  # as metrics.jsonl gives it back: nine digits
        resumed.look(step, {name: float(f"{value:.9g}") for name, value in json.loads(json.dumps(metrics)).items()})
    later = [(step, text) for step, metrics in enumerate(run[12:], 13) for text in resumed.look(step, metrics)]
    assert later == [(step, text) for step, text in whole if step > 12]
    assert later != []


def test_every_warning_is_one_line():
    bad = dict.fromkeys(HEALTHY, 20.0) | {"rewards/failed/accuracy/timeout": 1.0, "rewards/accuracy/mean": 0.0}
    texts = [text for _, text in told([bad] * 30)]
    assert len(texts) >= 3
    assert all("\n" not in text for text in texts)
