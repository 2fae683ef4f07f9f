"""Held-out tasks: how many, and never one that is trained on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.base import Task, prompt_key
from envs.splits import held_out_count, split_tasks


def tasks(*prompts):
    return [Task(str(number), prompt) for number, prompt in enumerate(prompts)]


@pytest.mark.parametrize(
    ("available", "test_size", "count"),
    [
        (1, None, 0),  # a lone prompt is trained on
        (1, 5, 0),
        (2, None, 1),
        (50, None, 5),  # a tenth
        (7000, None, 200),  # at most 200 unasked
        (7000, 0.5, 3500),
        (100, 30, 30),
        (100, 0, 0),
        (100, 100, 50),  # would leave nothing: half
        (10, 200, 5),
    ],
)
def test_how_many_are_held_out(available, test_size, count):
    assert held_out_count(available, test_size) == count


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), st.integers(0, 10), st.integers(0, 5))
def test_no_prompt_is_on_both_sides_whatever_is_repeated(prompts, test_size, seed):
    splits, _ = split_tasks(tasks(*prompts), seed=seed, test_size=test_size)
    train, test = ([prompt_key(task.prompt) for task in splits[name]] for name in ("train", "test"))
    assert not set(train) & set(test)
    assert set(train) | set(test) == set(prompts)
    assert train and len(set(test)) == len(test)


def test_rows_that_repeat_a_held_out_prompt_are_counted():
    splits, notes = split_tasks(tasks("a", "a", "a"), seed=0)
    assert (len(splits["train"]), len(splits["test"]), notes) == (3, 0, [])
    splits, notes = split_tasks(tasks("a", "a", "b", "b"), seed=0, test_size=1)
    assert (len(splits["train"]), len(splits["test"])) == (2, 1)
    assert notes == ["1 rows repeat a held-out prompt: left out of training"]


def test_a_size_that_could_not_be_kept_is_noted():
    _, notes = split_tasks(tasks("a", "b", "c", "d"), seed=0, test_size=9)
    assert notes == ["test_size is 9 but there are 4 distinct prompts: 2 held out"]


def test_a_limit_moves_no_task_across():
    many = tasks(*(str(number) for number in range(50)))
    whole, _ = split_tasks(many, seed=1, test_size=10)
    few, _ = split_tasks(many, seed=1, test_size=10, limit=3)
    assert few == {name: part[:3] for name, part in whole.items()}
