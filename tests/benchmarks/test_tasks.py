"""The benchmarks themselves: what they make of a row, what they refuse, and that their help costs nothing."""

import base64
import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from benchmarks import aime, amc23, gpqa_diamond, gsm8k, humaneval, livecodebench, math500, mbpp, medical, mgsm
from benchmarks.harness import problems as problems_module
from benchmarks.harness.problems import load_problems
from benchmarks.harness.settings import Settings
from envs import DataError
from rewards import RewardSet

NAMES = ["aime", "math500", "gsm8k", "amc23", "mgsm", "word_problems", "humaneval", "mbpp", "gpqa_diamond"]
NAMES += ["livecodebench", "medical", "reasoning_gym", "sweep", "compare", "leak"]
SHARED = Path(os.environ.get("GRPO_SHARED", Path(__file__).parents[3] / "shared")) / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"no data in {SHARED} (set GRPO_SHARED)")


@pytest.mark.parametrize("name", NAMES)
def test_help_needs_no_mlx(name):
    code = (
        "import sys, importlib\n"
        f"module = importlib.import_module('benchmarks.{name}')\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('mlx', 'mlx_lm', 'datasets', 'mpmath')], sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_help_shows_no_default_where_there_is_none(capsys):
    with pytest.raises(SystemExit):
        importlib.import_module("benchmarks.aime").main(["--help"])
    said = capsys.readouterr().out
    assert "(default 0.6)" in " ".join(said.split()) and "Undefined" not in said and "(default {})" not in said


def problems(module, data, **settings):
    benchmark = module.BENCHMARK if hasattr(module, "BENCHMARK") else module
    return load_problems(benchmark, Settings(model="m", data=str(data), **settings))


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@needs_shared
@pytest.mark.parametrize(
    ("name", "file", "count"),
    [
        ("gsm8k", "gsm8k_test", 1319),
        ("math500", "math500", 500),
        ("amc23", "amc23", 40),
        ("word_problems", "easy_arith_test", 462),
    ],
)
def test_real_files_are_read_whole_and_in_order(name, file, count):
    found = problems(importlib.import_module(f"benchmarks.{name}"), SHARED / f"{file}.jsonl")
    assert len(found.tasks) == count and found.notes == []
    first = json.loads((SHARED / f"{file}.jsonl").open().readline())
    assert found.tasks[0].prompt.startswith(first.get("question", first.get("problem")))
    assert found.tasks[0].columns["answer"] == str(first["answer"]).strip()


HUB = [
    aime.benchmark(2024),
    aime.benchmark(2025),
    mgsm.benchmark(("de",)),
    livecodebench.benchmark("", ""),
    medical.benchmark("a", "b"),
]
HUB += [module.BENCHMARK for module in (gsm8k, math500, amc23, humaneval, mbpp, gpqa_diamond)]


@pytest.mark.parametrize("benchmark", HUB, ids=lambda benchmark: benchmark.name)
def test_the_hub_s_data_is_that_of_one_commit(benchmark):
    pinned = "refs/convert/parquet" if benchmark.name == "mgsm" else r"[0-9a-f]{40}"
    assert re.fullmatch(pinned, benchmark.source.revision)


@pytest.mark.parametrize(("asked", "commit"), [(None, gsm8k.BENCHMARK.source.revision), ("abc", "abc")])
def test_the_commit_is_asked_for_and_named(monkeypatch, asked, commit):
    seen = []

    def rows(name, **how):
        seen.append((name, how["revision"]))
        yield "row 1", {"question": "1+1?", "answer": "#### 2"}

    monkeypatch.setattr(problems_module, "hub_rows", rows)
    found = load_problems(gsm8k.BENCHMARK, Settings(model="m", data_revision=asked))
    assert seen == [("openai/gsm8k", commit)] and found.source == f"openai/gsm8k@{commit}"


@needs_shared
@pytest.mark.parametrize("year", [2024, 2025])
def test_aime_has_30_problems_a_year(year):
    assert len(problems(aime.benchmark(year), SHARED / f"aime{year % 100}.jsonl").tasks) == 30


@needs_shared
def test_mgsm_names_the_language_it_asks_for():
    found = problems(mgsm.benchmark(("de", "ja")), SHARED / "mgsm.jsonl")
    assert len(found.tasks) == 500 and {task.columns["language"] for task in found.tasks} == {"de", "ja"}
    german = next(task for task in found.tasks if task.columns["language"] == "de")
    assert german.prompt.endswith("step by step in German, and put your final answer within \\boxed{}.")


def test_the_instruction_goes_with_chat_templates_only(tmp_path):
    from benchmarks import gsm8k

    data = written(tmp_path / "f.jsonl", {"question": "How many?", "answer": "3"})
    asked = {t: problems(gsm8k, data, template=t).tasks[0].prompt for t in ("chat", "r1", "r1_zero", "plain")}
    assert asked["chat"] == asked["r1"] != asked["plain"] == asked["r1_zero"] == "How many?"
    assert "\\boxed{}" in asked["r1"]


def test_another_number_of_problems_than_published_is_said(tmp_path):
    from benchmarks import math500

    found = problems(math500, written(tmp_path / "f.jsonl", {"problem": "?", "answer": "1"}))
    assert found.notes == [
        f"custom data: the problems of {tmp_path}/f.jsonl are not those of math500 as published, 1 of them for 500"
    ]
    assert not found.standard


@needs_shared
def test_problems_are_known_by_what_they_say_whatever_their_order(tmp_path):
    from benchmarks import aime

    rows = (SHARED / "aime24.jsonl").read_text().splitlines()
    other = tmp_path / "f.jsonl"
    other.write_text("\n".join(reversed(rows)))
    assert problems(aime.benchmark(2024), other).standard
    assert not problems(aime.benchmark(2025), other).standard  # another year
    other.write_text("\n".join(rows[:-1]))
    assert not problems(aime.benchmark(2024), other).standard  # another number
    other.write_text("\n".join([*rows[:-1], rows[-1].replace("the", "teh", 1)]))
    assert not problems(aime.benchmark(2024), other).standard  # another wording


@needs_shared
def test_a_limit_in_mgsm_is_of_each_language():
    found = problems(mgsm.benchmark(("de", "ja")), SHARED / "mgsm.jsonl", limit=3)
    assert [task.columns["language"] for task in found.tasks].count("ja") == 3 and len(found.tasks) == 6
    assert found.standard and found.of == 500


def test_a_missing_column_is_named(tmp_path):
    data = written(tmp_path / "f.jsonl", {"prompt": "x", "test": "y"})
    with pytest.raises(DataError, match=r"no column entry_point; found prompt, test"):
        problems(humaneval, data)


def test_an_unknown_language_is_named(tmp_path):
    data = written(tmp_path / "f.jsonl", {"lang": "xx", "question": "?", "answer": "1"})
    with pytest.raises(DataError, match="lang is 'xx'"):
        problems(mgsm.benchmark(tuple(mgsm.LANGUAGES)), data)


def judged(module, rows, completions):
    adapted = [dict(module.row(row)) for row in rows]
    prompts = [row.pop("prompt") for row in adapted]
    columns = {name: [row.get(name) for row in adapted] for name in adapted[0]}
    with RewardSet({"code": 1.0}) as rewards:
        return rewards.score(prompts, completions, columns=columns).totals


@needs_shared
@pytest.mark.parametrize(
    ("module", "file", "solution"),
    [
        (humaneval, "humaneval", lambda row: row["prompt"] + row["canonical_solution"]),
        (mbpp, "mbpp_sanitized", lambda row: row["code"]),
    ],
)
def test_reference_solutions_pass_and_empty_ones_do_not(module, file, solution):
    rows = [json.loads(line) for line in (SHARED / f"{file}.jsonl").open()][10:200:47]
    right = judged(module, rows, [f"```python\n{solution(row)}\n```" for row in rows])
    if None in right:
        pytest.skip("no sandbox here")
    assert right == [1.0] * len(rows)
    assert judged(module, rows, ["```python\npass\n```"] * len(rows)) == [0.0] * len(rows)


def test_mbpp_takes_the_test_split(tmp_path):
    row = {"prompt": "Double.", "test_list": ["assert f(2) == 4"], "code": "", "task_id": 11}
    data = written(tmp_path / "f.jsonl", {**row, "split": "train"}, {**row, "split": "test"})
    (task,) = problems(mbpp, data).tasks
    assert "assert f(2) == 4" in task.prompt and task.columns["tests"] == ["assert f(2) == 4"]


GPQA_ROW = {
    "Question": "Which?",
    "Correct Answer": "right",
    **{f"Incorrect Answer {n}": f"wrong {n}" for n in (1, 2, 3)},
}


def test_gpqa_shuffles_the_choices_the_same_way_every_time():
    rows = [gpqa_diamond.row({**GPQA_ROW, "Question": f"Which of {n}?"}) for n in range(40)]
    for row in rows:
        assert f"{row['answer']}. right" in row["prompt"]
    assert {row["answer"] for row in rows} == set("ABCD")
    assert rows[0] == gpqa_diamond.row({**GPQA_ROW, "Question": "Which of 0?"})


def test_gpqa_is_judged_by_its_letter():
    row = gpqa_diamond.row(GPQA_ROW)
    texts = [f"Hence \\boxed{{{letter}}}." for letter in "ABCD"]
    with RewardSet({"accuracy": 1.0}) as rewards:
        found = rewards.score([row["prompt"]] * 4, texts, columns={"answer": [row["answer"]] * 4}).totals
    assert found == [float(letter == row["answer"]) for letter in "ABCD"]


def packed(value):
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def lcb_row(**changes):
    tests = [{"input": "3\n", "output": "6\n", "testtype": "stdin"}]
    hidden = [{"input": "5\n", "output": "10\n", "testtype": "stdin"}]
    fixed = {"question_content": "Double it.", "starter_code": "", "metadata": "{}", "contest_date": "2024-10-01T00:00"}
    tests = {"public_test_cases": json.dumps(tests), "private_test_cases": packed(json.dumps(hidden))}
    return {**fixed, **tests, **changes}


def test_livecodebench_is_judged_by_public_and_private_tests():
    program = "```python\nprint(2 * int(input()))\n```"
    only_public = "```python\nprint(6)\n```"
    found = judged(livecodebench, [lcb_row()] * 2, [program, only_public])
    if None in found:
        pytest.skip("no sandbox here")
    assert found == [1.0, 0.0]


def test_livecodebench_methods_are_called_by_name():
    tests = json.dumps([{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}])
    row = lcb_row(
        starter_code="class Solution:\n    def total(self, xs, y):\n",
        metadata='{"func_name": "total"}',
        public_test_cases=tests,
        private_test_cases=packed(tests),
    )
    code = "```python\nclass Solution:\n    def total(self, xs, y):\n        return sum(xs) + y\n```"
    found = judged(livecodebench, [row], [code])
    if None in found:
        pytest.skip("no sandbox here")
    assert found == [1.0] and "class Solution" in livecodebench.row(row)["prompt"]


@pytest.mark.parametrize("text", [packed(os.system), packed([1]), "no base64 !", base64.b64encode(b"x").decode()])
def test_livecodebench_unpickles_nothing_but_text(text):
    with pytest.raises(ValueError, match="private_test_cases"):
        livecodebench.tests_of(text)


def test_livecodebench_chooses_contests_by_date(tmp_path):
    rows = [lcb_row(contest_date=f"2024-{month}-15T00:00:00") for month in ("07", "09", "12")]
    found = problems(livecodebench.benchmark("2024-08-01", "2024-11-30"), written(tmp_path / "f.jsonl", *rows))
    assert [task.columns["contest_date"] for task in found.tasks] == ["2024-09-15"]


def strict_reader(messages):
    """A judge that passes a text in which the reference answer stands as it is."""
    asked = messages[-1]["content"]
    task, text = asked.split("BEGIN ")
    reference = task.split("without seeing:")[1].split("Task:")[0].strip("| \n")
    ticket = asked.rsplit('"nonce" being "', 1)[1].split('"')[0]
    passed = reference in text
    return json.dumps({"nonce": ticket, "passed": passed, "issues": [], "confidence": 0.9})


def test_the_medical_judge_compares_the_final_answer_with_the_reference():
    reward = medical.AgainstReference(generate=strict_reader)
    prompts = ["What is it?<think>\n"] * 4
    completions = ["Hm.</think>It is anaemia.", "anaemia?</think>It is gout.", "anaemia", "Hm.</think>anaemia, or gout"]
    found = reward(prompts, completions, answer=["anaemia"] * 4)
    assert found == [1.0, 0.0, 0.0, 1.0]  # what is only thought, or never ends, is no answer


def test_a_judge_that_says_nothing_leaves_the_sample_unscored():
    reward = medical.AgainstReference(generate=lambda messages: "I like it", retries=0)
    assert reward(["What is it?"], ["Gout."], answer=["Gout."]) == [None]


def test_reasoning_gym_problems_do_not_depend_on_the_sampling_seed():
    from benchmarks import reasoning_gym

    benchmark = reasoning_gym.benchmark("leg_counting", 5, 0)
    first, second = (load_problems(benchmark, Settings(model="m", seed=seed)) for seed in (0, 9))
    assert first.sha256 == second.sha256 and len(first.tasks) == 5
    other = load_problems(reasoning_gym.benchmark("leg_counting", 5, 1), Settings(model="m"))
    assert other.sha256 != first.sha256
    with pytest.raises(DataError, match="makes its problems itself"):
        load_problems(benchmark, Settings(model="m", data="f.jsonl"))


def test_every_command_is_listed_with_a_line_of_its_own():
    from benchmarks.__main__ import commands

    listed = commands()
    assert set(NAMES) <= listed.keys() and all(
        line.endswith((".", "?", "`.")) or ":" in line for line in listed.values()
    )


def test_private_tests_that_inflate_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(livecodebench, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="inflate to more than 1,000 bytes"):
        livecodebench.tests_of(packed(json.dumps([{"input": " " * 5000, "output": ""}])))
    with pytest.raises(ValueError, match="are cut short"):
        livecodebench.tests_of(base64.b64encode(zlib.compress(pickle.dumps("[]"))[:-3]).decode())
