"""Programming problems from files, as tasks that the code reward can judge."""

import json
import os
from pathlib import Path

import pytest

from envs import DataError, make
from rewards.base import get

MBPP = {
    "task_id": 2,
    "prompt": "Write a function to square a number.",
    "code": "import math\ndef square(x):\n    return x * x",
    "test_imports": ["import math"],
    "test_list": ["assert square(2) == 4", "assert square(3) == 9", "assert math.isclose(square(0.5), 0.25)"],
}
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "from typing import List\n\ndef total(xs: List[int]) -> int:\n    '''The sum.'''\n",
    "entry_point": "total",
    "canonical_solution": "    return sum(xs)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n",
}
PROGRAM = {"question": "Double a number.", "inputs": ["2\n"], "outputs": ["4\n"]}
SOLUTIONS = {
    "square": "def square(x):\n    return x * x",
    "total": "def total(xs):\n    return sum(xs)",
    "Double": "print(2 * int(input()))",
}


@pytest.fixture
def file(tmp_path):
    def write(*rows, name="problems.jsonl"):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return str(path)

    return write


def all_tasks(env):
    return [task for tasks in env.splits.values() for task in tasks]


def test_rows_of_every_kind_become_tasks_the_reward_judges(file):
    env = make("code_problems", data=file(MBPP, HUMANEVAL, PROGRAM))
    tasks = all_tasks(env)
    assert (len(tasks), env.reward_names) == (3, ("code",))
    answers = [next(code for word, code in SOLUTIONS.items() if word in task.prompt) for task in tasks]
    columns = {name: [task.columns[name] for task in tasks] for name in tasks[0].columns}
    reward = get("code")
    judged = reward(
        prompts=[task.prompt for task in tasks],
        completions=[f"So:\n```python\n{answer}\n```" for answer in answers],
        **columns,
    )
    if "refused" in judged.outcomes:
        pytest.skip("no isolation here")
    assert list(judged) == [1.0, 1.0, 1.0]


def test_the_prompt_asks_for_a_block_and_shows_one_test_of_several(file):
    [task] = make("code_problems", data=file(MBPP)).tasks("train")
    assert task.prompt == (
        "Write a function to square a number.\n\nYour code must pass tests such as:\n```python\n"
        "assert square(2) == 4\n```\nGive the whole program in one ```python block at the end of your answer."
    )
    assert task.columns["entry_point"] == "square"
    assert task.columns["tests"] == MBPP["test_list"]
    assert task.columns["test_imports"] == ["import math"]
    assert "code" not in task.columns  # the solution is nobody's business


@pytest.mark.parametrize(
    ("row", "options"),
    [({**MBPP, "test_list": MBPP["test_list"][:1]}, {}), (MBPP, {"shown_tests": 0})],
)
def test_a_test_that_would_be_the_only_hidden_one_is_not_shown(file, row, options):
    [task] = make("code_problems", data=file(row), **options).tasks("train")
    assert "assert" not in task.prompt
    assert "The function must be called square." in task.prompt


def test_a_function_to_complete_is_shown_as_it_stands_and_its_helpers_reach_the_tests(file):
    [task] = make("code_problems", data=file(HUMANEVAL)).tasks("train")
    assert task.prompt.startswith(f"Complete this Python function:\n```python\n{HUMANEVAL['prompt'].rstrip()}\n```\n")
    assert (task.columns["setup"], task.columns["entry_point"]) == (HUMANEVAL["prompt"], "total")
    assert "canonical_solution" not in task.columns


def test_the_forms_of_apps_and_livecodebench(file):
    cases = {"inputs": ["[1, 2]"], "outputs": ["3"], "fn_name": "total"}
    row = {"question_content": "Add.", "starter_code": "class Solution:", "input_output": json.dumps(cases)}
    [task] = make("code_problems", data=file(row)).tasks("train")
    assert (task.columns["inputs"], task.columns["outputs"]) == (["[1, 2]"], ["3"])
    assert task.columns["entry_point"] == "total"
    assert "Begin with:\n```python\nclass Solution:\n```" in task.prompt
    [task] = make("code_problems", data=file(PROGRAM)).tasks("train")
    assert "Read the input from standard input and print the output." in task.prompt


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "is not JSON"),
        ([1], "not an object with columns but a list"),
        ({"prompt": "Write."}, "no tests, looked for tests, test_list, test, inputs and outputs; found prompt"),
        ({"test_list": ["assert f(1) == 1"]}, "no question, looked for question"),
        ({"prompt": "Write.", "test_list": ["assert f(1) =="]}, "tests is not Python"),
        ({"prompt": "Write.", "test_list": "f(1)"}, "tests must be a list of assert statements"),
        ({"prompt": "Write.", "test_list": ["f(1)"]}, "a test without assert"),
        ({"prompt": "Write.", "inputs": ["1"], "outputs": []}, "1 inputs but 0 outputs"),
        ({"prompt": "def f(): pass", "test": "def check(c):\n    assert c() == 1"}, "no entry_point beside test"),
        ({"prompt": "Write.", "input_output": "{"}, "input_output is not JSON"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(file, row, said):
    path = file(MBPP, row)
    env = make("code_problems", data=path)
    assert len(all_tasks(env)) == 1
    assert len(env.skipped) == 1 and env.skipped[0].startswith(f"{path}:2: ") and said in env.skipped[0]
    with pytest.raises(DataError, match=f"{path}:2: "):
        make("code_problems", data=path, strict=True)


def test_problems_need_data():
    with pytest.raises(DataError, match="code_problems: data is required"):
        make("code_problems")


def test_the_rows_own_split_is_kept_unless_a_size_is_given(file):
    rows = [{**MBPP, "prompt": f"Square {n}.", "split": "test" if n < 4 else "train"} for n in range(10)]
    env = make("code_problems", data=file(*rows))
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (6, 4)
    assert all(task.columns["split"] == "test" for task in env.tasks("test"))
    env = make("code_problems", data=file(*rows), test_size=2)
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (8, 2)


def test_a_test_file_gives_the_test_split(file):
    train = file(*[{**MBPP, "prompt": f"Square {n}."} for n in range(5)])
    test = file({**MBPP, "prompt": "Square 1."}, {**MBPP, "prompt": "Square 77."}, name="test.jsonl")
    env = make("code_problems", data=train, test_data=test)
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (4, 2)  # one prompt was in both


def test_the_presets_name_the_hubs_copies(monkeypatch):
    import datasets

    asked = []

    def load(source, config=None, *, split, revision):
        asked.append((source, config, split))
        row = HUMANEVAL if "humaneval" in source else MBPP
        return [{**row, "prompt": f"{row['prompt']}# {split} {n}"} for n in range(3)]

    monkeypatch.setattr(datasets, "load_dataset", load)
    make("humaneval")
    make("mbpp")
    assert asked == [
        ("openai/openai_humaneval", None, "test"),
        ("google-research-datasets/mbpp", "sanitized", "train"),
        ("google-research-datasets/mbpp", "sanitized", "test"),
    ]


def test_real_rows_are_all_read():
    shared = Path(os.environ.get("GRPO_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
    if not (shared / "humaneval.jsonl").exists():
        pytest.skip(f"no humaneval.jsonl in {shared} (set GRPO_SHARED)")
    env = make("humaneval", data=str(shared / "humaneval.jsonl"))
    assert (len(all_tasks(env)), env.skipped) == (164, [])
    env = make("mbpp", data=str(shared / "mbpp_sanitized.jsonl"))
    assert (len(all_tasks(env)), env.skipped) == (427, [])
    assert len(env.tasks("test")) == 257  # MBPP's own test rows
