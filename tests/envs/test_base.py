"""What every environment promises."""

import subprocess
import sys

import pytest

from envs import DataError, Env, Task, make
from envs.base import prompt_key

GENERATED = ["arithmetic", "countdown", "digit_sums"]


def test_importing_envs_loads_no_mlx_and_no_data_library():
    heavy = ["mlx", "datasets", "reasoning_gym", "numpy", "pydantic", "mpmath"]
    program = f"import sys, envs; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", GENERATED)
def test_the_same_seed_gives_the_same_tasks(name):
    assert make(name, seed=3).splits == make(name, seed=3).splits


@pytest.mark.parametrize("name", GENERATED)
def test_another_seed_gives_another_order(name):
    assert make(name, seed=3).tasks("train") != make(name, seed=4).tasks("train")


@pytest.mark.parametrize("name", GENERATED)
def test_no_prompt_is_in_two_splits(name):
    env = make(name)
    prompts = [{prompt_key(task.prompt) for task in tasks} for tasks in env.splits.values()]
    assert sum(len(one) for one in prompts) == len(set().union(*prompts))


@pytest.mark.parametrize("name", GENERATED)
def test_ids_name_one_task_each(name):
    ids = [task.id for tasks in make(name).splits.values() for task in tasks]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", GENERATED)
def test_every_task_has_an_answer_and_a_language(name):
    tasks = make(name).tasks("train")
    assert all(isinstance(task.columns["answer"], str) and task.columns["language"] == "en" for task in tasks)


def test_an_environment_is_single_turn_unless_it_says_otherwise():
    task = Task("1", "1 + 1 =")
    assert Env("mine", {"train": [task]}).converse(task) is None


def test_an_unknown_split_is_named_with_those_there_are():
    with pytest.raises(DataError, match="arithmetic has no split 'valid'; it has train, test"):
        make("arithmetic").tasks("valid")


def test_white_space_does_not_make_another_prompt():
    assert prompt_key(" 1 +\n 1") == prompt_key("1 + 1")


def test_the_role_makes_another_prompt():
    assert prompt_key([{"role": "user", "content": "a"}]) != prompt_key([{"role": "system", "content": "a"}])
