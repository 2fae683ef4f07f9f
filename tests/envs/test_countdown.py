"""Countdown problems and their reward."""

import pytest

from envs import DataError, make
from envs.countdown import countdown_reward
from envs.expressions import evaluate


def reward(completion, numbers=(1, 2, 3, 7), target=10, use_all=False, prompt="p"):
    return countdown_reward([prompt], [completion], numbers=[list(numbers)], target=[target], use_all=[use_all])[0]


@pytest.mark.parametrize("use_all", [False, True])
def test_the_answer_of_every_problem_is_rewarded(use_all):
    env = make("countdown", use_all=use_all, size=100)
    tasks = [*env.tasks("train"), *env.tasks("test")]
    names = ("numbers", "target", "use_all")
    columns = {name: [task.columns[name] for task in tasks] for name in names}
    completions = [f"<think> ... </think> <answer>{task.columns['answer']}</answer>" for task in tasks]
    assert len(tasks) == 100
    assert countdown_reward([task.prompt for task in tasks], completions, **columns) == [1.0] * 100


def test_no_target_is_one_of_the_numbers():
    assert all(task.columns["target"] not in task.columns["numbers"] for task in make("countdown").tasks("train"))


def test_numbers_and_target_stay_in_their_range():
    env = make("countdown", numbers=3, low=5, high=9, max_target=40, size=50)
    for task in env.tasks("train"):
        assert len(task.columns["numbers"]) == 3 and all(5 <= number <= 9 for number in task.columns["numbers"])
        assert 1 <= task.columns["target"] <= 40
        assert evaluate(task.columns["answer"])[0] == task.columns["target"]


def test_the_reward_is_named_so_that_a_config_can_load_it():
    import rewards

    assert make("countdown").reward_names == ("envs.countdown:countdown_reward",)
    loaded = rewards.get("envs.countdown:countdown_reward")
    assert loaded(prompts=["p"], completions=["<answer>3+7</answer>"], numbers=[[3, 7]], target=[10]) == [1.0]


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("<answer>3 + 7</answer>", 1.0),
        ("<answer> 7 + 1 + 2 </answer>", 1.0),
        ("so \\boxed{7 + 3}", 1.0),
        ("<answer>1</answer> no, <answer>3 + 7</answer>", 1.0),  # the last one counts
        ("<answer>3 + 7</answer> no, <answer>1</answer>", 0.0),
        ("<answer>2 * 2 + 3 * 2</answer>", 0.0),  # 2 is there once
        ("<answer>4 + 6</answer>", 0.0),  # neither is there
        ("<answer>10</answer>", 0.0),
        ("<answer>7 + 2</answer>", 0.0),
        ("<answer>3 + 7 = 10</answer>", 0.0),
        ("<answer>__import__('os')</answer>", 0.0),
        ("3 + 7", 0.0),
        ("<answer>3 + 7", 0.0),
        ("<think><answer>3 + 7</answer></think> done", 0.0),  # only in the reasoning
        ("<think> <answer>3 + 7</answer>", 0.0),  # reasoning without end
        ("", 0.0),
    ],
)
def test_what_a_completion_earns(completion, value):
    assert reward(completion) == value


def test_use_all_asks_for_every_number():
    assert reward("<answer>3 + 7</answer>", use_all=True) == 0.0
    assert reward("<answer>7 + 3 * (2 - 1)</answer>", use_all=True) == 1.0


def test_a_completion_may_be_messages():
    assert reward([{"role": "assistant", "content": "<answer>3 + 7</answer>"}]) == 1.0


def test_a_prompt_that_opens_the_reasoning_needs_it_closed():
    assert reward("<answer>3 + 7</answer>", prompt="p <think>") == 0.0
    assert reward("sum </think> <answer>3 + 7</answer>", prompt="p <think>") == 1.0


def test_other_tasks_are_left_out():
    assert countdown_reward(["p"], ["<answer>1</answer>"], answer=["1"]) == [None]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"numbers": 1}, "numbers must be from 2 to 8"),
        ({"low": 0}, "low must be at least 1"),
        ({"low": 9, "high": 8}, "not above high"),
        ({"size": 0}, "size and max_target must be at least 1"),
        ({"numbers": 2, "low": 60, "high": 99, "max_target": 0}, "at least 1"),
    ],
)
def test_impossible_options_are_refused_with_the_reason(options, reason):
    with pytest.raises(DataError) as raised:
        make("countdown", **options)
    assert reason in str(raised.value)


def test_a_range_with_few_problems_gives_them_and_says_so():
    # 1 and 1: 1 + 1 = 2 is the only target that is not one of the numbers
    env = make("countdown", numbers=2, low=1, high=1, size=5)
    assert [task.columns["target"] for task in env.tasks("train")] == [2]
    assert "size is 5 but only 1 distinct problems were found" in env.notes
