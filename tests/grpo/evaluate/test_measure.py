"""Figures of held-out tasks."""

import math

import pytest

from grpo.evaluate.intervals import interval
from grpo.evaluate.measure import before_and_after
from grpo.evaluate.measure import evaluate as measure
from grpo.scoring import Scorer
from rewards import RewardSet


@pytest.fixture
def scorer():
    def length_is_even(completion_ids, **_):
        return [float(len(ids) % 2 == 0) for ids in completion_ids]

    def never(completions, **_):
        return [None] * len(completions)

    scorer = Scorer(
        RewardSet({"accuracy": 1.0, "silent": 1.0}, functions={"accuracy": length_is_even, "silent": never})
    )
    yield scorer
    scorer.close()


def evaluate(*arguments, **options):
    return measure(*arguments, **options).figures


def test_figures_are_means_over_tasks_and_samples(tiny, scorer):
    config = tiny.config(eval_samples=3, max_completion_length=10)
    figures = evaluate(tiny.policy(), tiny.prompts([4, 6, 3, 5]), scorer, config, step=0)
    assert (figures["tasks"], figures["samples"]) == (4, 3)
    assert (figures["accuracy"] * 12) == pytest.approx(round(figures["accuracy"] * 12))  # twelve answers in all
    assert 0 <= figures["accuracy_low"] <= figures["accuracy"] <= figures["accuracy_high"] <= 1
    assert 1 <= figures["mean_length"] <= 10 and 0 <= figures["truncated"] <= 1
    assert "silent" not in figures  # no value for any completion


def test_the_same_step_gives_the_same_figures_and_another_one_others(tiny, scorer):
    policy, prompts, config = tiny.policy(), tiny.prompts([4, 6, 3, 5]), tiny.config(eval_samples=4)
    first, again, later = (evaluate(policy, prompts, scorer, config, step=step) for step in (0, 0, 1))
    assert first == again
    assert first != later


def test_greedy_takes_one_sample_and_no_seed(tiny, scorer):
    policy, prompts = tiny.policy(), tiny.prompts([4, 6])
    figures = [
        evaluate(policy, prompts, scorer, tiny.config(seed=seed, eval_samples=4), step=seed, greedy=True)
        for seed in (0, 1)
    ]
    assert figures[0] == figures[1] and figures[0]["samples"] == 1


def test_more_samples_than_rows_are_decoded_all_the_same(tiny, scorer):
    config = tiny.config(max_rows=4, eval_samples=6, max_completion_length=4)
    assert evaluate(tiny.policy(), tiny.prompts([4, 6]), scorer, config, step=0)["samples"] == 6


def test_wilson_interval_of_nine_in_ten():
    # centre (0.9 + 3.8416 / 20) / 1.38416 = 0.78897; half 1.96 / 1.38416 * sqrt(0.009 + 3.8416 / 400) = 0.19316
    low, high = interval([1.0] * 9 + [0.0])
    assert (low, high) == (pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))


def test_the_interval_of_no_success_is_not_a_point():
    low, high = interval([0.0] * 20)
    assert low == pytest.approx(0.0, abs=1e-12)
    assert high == pytest.approx(1.96**2 / (20 + 1.96**2), rel=1e-4)  # z^2 / (n + z^2)


def test_the_interval_of_several_samples_is_over_tasks():
    # of three tasks drawn with replacement all are the worst one in 1 / 27 of the draws, more than 2.5%: so at the top
    assert interval([0.5, 0.25, 0.75]) == (0.25, 0.75)
    assert interval([-3.0, 5.0] * 50)[1] > 1.0  # a reward is no share


@pytest.mark.filterwarnings("error")
def test_a_lone_task_says_nothing():
    assert interval([0.5]) == (0.0, 1.0)
    assert all(math.isnan(end) for end in interval([7.0]))


def test_one_side_of_the_summary():
    assert before_and_after({"accuracy": 1.0}, None) == {"accuracy": 1.0}
    assert before_and_after({"accuracy": 1.0}, {"accuracy": 0.5}) == {"accuracy": 1.0, "greedy": {"accuracy": 0.5}}
