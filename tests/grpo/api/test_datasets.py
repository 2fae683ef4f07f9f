"""Data sets from Python."""

import itertools

import pytest

from envs import DataError, Env, Task
from grpo.api.datasets import read
from grpo.config.sections import ConfigError

ROWS = [{"prompt": "a?", "answer": 1}, {"prompt": "b?", "answer": 2}]


def test_skipped_rows_of_both_sets_are_reported():
    data = read([*ROWS, {"no": 1}], {"one": [{"prompt": "c?"}, {"prompt": ""}]}, 0)
    report = "\n".join(data.env.report())
    assert "2 train, 1 test tasks" in report and "skipped 2 rows" in report
    assert "train_dataset:3: no prompt column" in report and "one:2: prompt is empty" in report


def test_options_of_rows_hold_for_both_sets():
    asked = [{"q": {"text": "a?"}}]
    data = read(asked, [{"q": {"text": "b?"}}], 0, {"prompt_column": "q.text", "suffix": "!"})
    assert [task.prompt for split in ("train", "test") for task in data.env.tasks(split)] == ["a?!", "b?!"]


def test_an_option_that_there_is_not_is_refused():
    with pytest.raises(DataError, match="train_dataset has no option 'prompt_colum'; did you mean prompt_column"):
        read(ROWS, None, 0, {"prompt_colum": "q"})
    with pytest.raises(ConfigError, match="train_dataset is an Env"):
        read(Env("mine", {"train": [Task("1", "a?")]}), None, 0, {"suffix": "!"})


def test_a_table_of_pandas_and_a_generator_without_end():
    pandas = pytest.importorskip("pandas")
    env = read(pandas.DataFrame(ROWS), None, 0).env
    assert sorted(task.columns["answer"] for task in env.tasks("train")) == [1, 2]
    endless = ({"prompt": f"{n}?"} for n in itertools.count())
    assert len(read(endless, None, 0, {"max_rows": 3}).env.tasks("train")) == 3


def test_rows_need_no_answer_unless_that_is_said(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a?"}\n')
    assert read(str(path), None, 0).env.tasks("train")[0].prompt == "a?"
    with pytest.raises(DataError, match="no answer column"):
        read(str(path), None, 0, {"answer_required": True})
