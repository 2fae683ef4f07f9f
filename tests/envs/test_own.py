"""`data=module:function`."""

import re
from pathlib import Path

import pytest

from envs import DataError, Env, Task, make

MODULE = """
import itertools
from envs import Env, Task

ROWS = [{"question": f"{n}?", "colour": "red"} for n in range(4)]
def rows(count=3): return [{"question": f"{n}?", "answer": n} for n in range(count)]
def seeded(seed): return [{"question": f"{seed}?", "answer": 1}]
def generator():
    for n in range(3): yield {"question": f"{n}?", "answer": str(n)}
def endless(): return ({"question": f"{n}?", "answer": str(n)} for n in itertools.count())
def splits(): return {"train": rows(), "test": [{"question": "9?", "answer": "9"}]}
def tasks(): return [Task("one", "1?", {"answer": "1"})]
def env(): return Env("mine", {"train": tasks()}, reward_names=("code",))
class Duck(Env):
    reward_names = ("format",)
    def __init__(self): pass
    def tasks(self, split="train"): return tasks()
class Foreign:
    def tasks(self, split):
        if split != "train": raise LookupError(split)
        return tasks()
    def converse(self, task): return "conversation"
class Broken(Duck):
    def tasks(self, split="train"): raise KeyError("x")
class Rows(Duck):
    def tasks(self, split="train"): return rows()
def needs(path): return []
def broken(): return [][0]
def broken_late():
    yield {"question": "1?", "answer": "1"}
    raise KeyError("x")
def number(): return 7
def columns(): return {"question": ["1?"], "answer": ["1"]}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


def prompts(env, split="train"):
    return sorted(task.prompt for task in env.tasks(split))


@pytest.mark.parametrize("function", ["rows", "generator"])
def test_rows_and_generators_of_rows(mine, function):
    env = make(f"{mine}:{function}", test_size=0)
    assert prompts(env) == ["0?", "1?", "2?"]
    assert env.tasks("train")[0].id.startswith(f"{mine}:{function}:")


def test_a_list_is_taken_as_it_stands(mine):
    assert len(make(f"{mine}:ROWS", test_size=0, needs_answer=False).tasks("train")) == 4


def test_options_are_the_functions_arguments_and_those_of_rows(mine):
    env = make(f"{mine}:rows", count=5, test_size=2, suffix="!")
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (3, 2)
    assert all(prompt.endswith("?!") for prompt in prompts(env))
    assert prompts(make(f"{mine}:seeded", seed=7)) == ["7?"]


def test_splits_by_name(mine):
    env = make(f"{mine}:splits")
    assert (prompts(env), prompts(env, "test")) == (["0?", "1?", "2?"], ["9?"])


def test_tasks_and_environments_are_taken_as_they_are(mine):
    assert make(f"{mine}:tasks").tasks("train") == [Task("one", "1?", {"answer": "1"})]
    env = make(f"{mine}:env", seed=3)
    assert isinstance(env, Env) and env.reward_names == ("code",)


def test_an_environment_that_only_has_tasks(mine):
    env = make(f"{mine}:Duck")
    assert env.reward_names == ("format",)
    assert env.report() == ["1 train, 1 test tasks"]


def test_what_has_tasks_is_an_environment(mine):
    env = make(f"{mine}:Foreign")
    assert isinstance(env, Env) and env.report() == ["1 train tasks"]
    assert env.converse(env.tasks("train")[0]) == "conversation"


def test_rows_without_an_answer_name_no_reward(mine):
    assert make(f"{mine}:ROWS", needs_answer=False).reward_names == ()
    assert make(f"{mine}:rows").reward_names == ("accuracy",)


def test_an_endless_generator_is_cut(mine, monkeypatch):
    env = make(f"{mine}:endless", max_rows=5, test_size=0)
    assert prompts(env) == ["0?", "1?", "2?", "3?", "4?"]
    monkeypatch.setattr("envs.data.ENDLESS", 7)
    env = make(f"{mine}:endless", test_size=0)
    assert len(env.tasks("train")) == 7 and "may have no end" in env.notes[0]


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("none", {}, "has no function 'none'"),
        ("rows", {"coumt": 1}, "has no option 'coumt'; did you mean count?"),
        ("needs", {}, "needs its argument 'path': give data_options.path=..."),
        ("broken", {}, "raised IndexError: list index out of range"),
        ("broken_late", {}, "raised KeyError: 'x' ("),
        ("Broken", {}, "tasks('train') raised KeyError: 'x' ("),
        ("Rows", {}, "tasks must give envs.Task, got dict"),
        ("number", {}, "must give rows, a generator of rows or an Env, got int 7"),
        ("columns", {}, "gives a mapping without 'train' (its keys: question, answer): give rows"),
        ("env", {"limit": 3}, "gives an Env of its own, for which limit has no meaning"),
        ("rows", {"test_size": "x"}, "option test_size"),
    ],
)
def test_what_goes_wrong_is_one_line(mine, function, options, message):
    with pytest.raises(DataError) as raised:
        make(f"{mine}:{function}", **options)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("{}.py:rows", "data={}:rows"),
        ("./{}.py:rows", "data={}:rows"),
        ("{}.py", "data={}:FUNCTION"),
        ("{}", "data={}:F"),
    ],
)
def test_other_ways_to_name_a_function_say_the_right_one(mine, form, said):
    with pytest.raises(DataError) as raised:
        make(form.format(mine))
    assert said.format(mine) in str(raised.value)


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(DataError, match="module no_such_module not imported"):
        make("no_such_module:rows")


def test_the_example_of_the_documentation(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    (tmp_path / "mine_of_the_docs.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    env = make("mine_of_the_docs:rows", high=3, test_size=0)
    assert sorted(task.columns["answer"] for task in env.tasks("train")) == [1, 2, 3]
