"""Several environments in one run: shares by weight, each task answered by its own environment."""

from collections import Counter

import pytest

from envs import DataError, Env, Reply, Task, make
from envs.mixture import Mixture


class Talk:
    tools = ()

    def reply(self, message):
        return Reply(done=True)


class Talking(Env):
    def converse(self, task):
        return Talk()


def env(name, count, kind=Env):
    return kind(name, {"train": [Task(str(i), f"{name} {i}", {"answer": str(i)}) for i in range(count)], "test": []})


def shares(mixed):
    counts = Counter(task.columns["environment"] for task in mixed.tasks("train"))
    return {name: count / sum(counts.values()) for name, count in counts.items()}


def test_tasks_have_the_shares_of_their_weights_and_none_is_lost():
    mixed = Mixture([(env("a", 30), 1.0), (env("b", 10), 3.0)])
    assert shares(mixed) == pytest.approx({"a": 0.25, "b": 0.75}, abs=0.02)
    assert len({task.id for task in mixed.tasks("train")}) == 40


def test_a_tasks_own_environment_answers():
    mixed = Mixture([(env("a", 3), 1.0), (env("b", 3, Talking), 1.0)])
    answered = {task.columns["environment"]: mixed.converse(task) is not None for task in mixed.tasks("train")}
    assert answered == {"a": False, "b": True} and mixed.converses
    assert not Mixture([(env("a", 3), 1.0)]).converses


def test_a_list_makes_a_mixture():
    mixed = make([{"env": "arithmetic", "weight": 2}, {"env": "digit_sums", "options": {"limit": 20}}], seed=1)
    assert shares(mixed) == pytest.approx({"arithmetic": 2 / 3, "digit_sums": 1 / 3}, abs=0.05)
    assert mixed.name == "arithmetic + digit_sums" and mixed.tasks("test")


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([{"weight": 1}], "names its env"),
        ([{"env": "arithmetic", "weight": 0}], "weight must be a number above 0, got 0"),
        ([{"env": "arithmetic", "wight": 1}], "not wight"),
        ([{"env": "arithmetic"}, {"env": "arithmetic"}], "different names"),
    ],
)
def test_what_is_wrong_with_a_part_is_said(parts, problem):
    with pytest.raises(DataError, match=problem):
        make(parts)
