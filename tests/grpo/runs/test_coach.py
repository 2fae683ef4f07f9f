"""Every kind of warning comes when it should, names the number and the key, and a healthy run hears nothing."""

import json
import math

import pytest

from grpo.config import Config
from grpo.runs.coach import Coach

HEALTHY = {
    "reward": 0.6,
    "rewards/accuracy/mean": 0.4,
    "rewards/format/mean": 0.5,
    "frac_reward_zero_std": 0.2,
    "completions/clipped_ratio": 0.1,
    "entropy": 0.8,
    "sampling/mismatch_k3": 1e-8,
    "updates/dropped": 0.0,
    "kl": 0.01,
}


def told(history, config=None):
    """All warnings of a history, as (step, text)."""
    coach = Coach(config or Config())
    return [(step, text) for step, metrics in enumerate(history, 1) for text in coach.look(step, metrics)]


def steps(count, **changes):
    """So many healthy steps with these metrics changed; `a__b` stands for `a/b`."""
    return [HEALTHY | {name.replace("__", "/"): value for name, value in changes.items()}] * count


def test_a_healthy_run_hears_nothing():
    # reward .3 -> 1.4 and entropy .8 -> .05 * 4: slow gains, no collapse below 20% of the start (.16)
    run = [
        HEALTHY
        | {"reward": 0.3 + 0.011 * step, "rewards/accuracy/mean": 0.3 + 0.006 * step, "entropy": 0.8 - 0.006 * step}
        for step in range(100)
    ]
    assert told(run) == []


def test_an_empty_step_hears_nothing():
    assert told([{}, {}, {}, {}]) == []


def test_equal_groups_that_are_all_right_are_too_easy():
    (step, text), *rest = told(steps(3, frac_reward_zero_std=1.0, rewards__accuracy__mean=1.0))
    assert (step, rest) == (3, [])  # only after three steps
    assert "too easy (accuracy 1.00)" in text and "data_options" in text


def test_equal_groups_that_are_all_wrong_are_too_hard():
    ((_, text),) = told(steps(3, frac_reward_zero_std=0.95, rewards__accuracy__mean=0.0))
    assert "too hard" in text and "95%" in text and "format_similarity" in text


def test_equal_groups_are_judged_by_the_reward_where_there_is_no_accuracy():
    # at most 2.0; 1.8 / 2.0 is nearer to the top
    config = Config(reward_weights={"mine:reward": 2.0})
    history = [{"frac_reward_zero_std": 1.0, "reward": 1.8}] * 3
    ((_, text),) = told(history, config)
    assert "too easy (reward 1.80 of at most about 2)" in text


@pytest.mark.parametrize(
    ("share", "said"), [(1.0, "all groups had equal rewards"), (0.96, "at least 96% of the groups had equal rewards")]
)
def test_the_share_of_equal_groups_is_said_in_words_that_fit_it(share, said):
    ((_, text),) = told(steps(3, frac_reward_zero_std=share))
    assert text.startswith(said)


def test_two_steps_of_equal_groups_are_chance():
    assert told([*steps(2, frac_reward_zero_std=1.0), *steps(1), *steps(2, frac_reward_zero_std=1.0)]) == []


def test_everything_truncated():
    ((_, text),) = told(steps(1, completions__clipped_ratio=0.9), Config(max_completion_length=77))
    assert "90%" in text and "max_completion_length 77" in text and "template" in text


def test_format_rises_while_accuracy_stays_zero():
    # .1 -> .3 over ten steps, reached at the eleventh
    run = [HEALTHY | {"rewards/accuracy/mean": 0.0, "rewards/format/mean": 0.1 + 0.02 * step} for step in range(12)]
    (step, text), *rest = told(run)
    assert step in (11, 12) and rest == []  # .1 + .2 - .1 may round below .2
    assert "reward_weights.format" in text and "accuracy stays at 0.00" in text


def test_format_that_rises_with_accuracy_is_learning():
    run = [HEALTHY | {"rewards/accuracy/mean": 0.02, "rewards/format/mean": 0.05 * step} for step in range(20)]
    assert told(run) == []


def test_entropy_collapse():
    # start (.5 + .6 + .7) / 3 = .6; 20% of it .12; below .1 too
    run = [HEALTHY | {"entropy": entropy} for entropy in (0.5, 0.6, 0.7, 0.11, 0.09)]
    ((step, text),) = told(run, Config(learning_rate=3e-4))
    assert step == 5
    assert "from 0.60 to 0.090" in text and "now 0.0003" in text and "epsilon_high: 0.28" in text


def test_a_policy_that_is_certain_and_right_has_not_collapsed():
    run = [HEALTHY | {"entropy": entropy, "rewards/accuracy/mean": 0.9} for entropy in (0.5, 0.6, 0.7, 0.11, 0.09)]
    assert told(run) == []


def test_an_entropy_that_was_low_from_the_start_has_not_collapsed():
    assert told(steps(10, entropy=0.05)) == []


def test_sampler_and_trainer_disagree():
    ((_, text),) = told(steps(1, sampling__mismatch_k3=0.002))
    assert "0.002" in text and "merge_adapter" in text


@pytest.mark.parametrize("changes", [{"num_updates": 2}, {"num_iterations": 2}])
def test_later_updates_of_a_batch_may_differ_from_the_sampler(changes):
    assert told(steps(1, sampling__mismatch_k3=0.5), Config(**changes)) == []


def test_dropped_updates():
    ((_, text),) = told(steps(1, updates__dropped=2.0))
    assert text.startswith("2 update(s)") and "learning_rate" in text


def test_reward_collapse():
    # best mean of five 0.8; with 0.1 coming in: (0.8 * 4 + 0.1) / 5 = .66, .52, .38: below 0.4 at the third
    ((step, text),) = told([*steps(5, reward=0.8), *steps(3, reward=0.1)])
    assert step == 8
    assert "fell to 0.38" in text and "0.80" in text and "learning_rate" in text


def test_a_small_reward_that_wavers_has_not_collapsed():
    assert told([*steps(5, reward=0.1), *steps(5, reward=0.0)]) == []


def test_failing_rewards_are_named():
    history = steps(1, **{"rewards__failed__accuracy__timeout": 3.0, "rewards__failed__my.module:f__raised": 16.0})
    late, raised = (text for _, text in told(history))
    assert "reward accuracy reported timeout for 3 completion(s)" in late and "reward_timeout_seconds" in late
    assert "reward my.module:f" in raised and "reward_weights.my.module:f=null" in raised


def test_kl_blow_up():
    ((_, text),) = told(steps(1, kl=12.34))
    assert "12.3 nats" in text and "beta" in text


def test_a_kind_is_not_repeated_for_20_steps():
    assert [step for step, _ in told(steps(41, kl=11.0))] == [1, 21, 41]


def test_kinds_do_not_silence_each_other():
    texts = [text for _, text in told([*steps(1, kl=11.0), *steps(1, kl=11.0, updates__dropped=1.0)])]
    assert len(texts) == 2


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
    assert len(texts) >= 6
    assert all("\n" not in text for text in texts)
