"""Rows that are read as they are needed."""

import gzip
import json

import pytest

import envs
from envs import DataError
from envs.rows import Columns
from envs.streaming import StreamedTasks


def written(path, count, start=0):
    lines = [json.dumps({"question": f"{n} + 1 =", "answer": n + 1}) + "\n" for n in range(start, start + count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(lines).encode()) if path.suffix == ".gz" else "".join(lines).encode())


def prompts(tasks):
    return [None if task is None else task.prompt for task in tasks]


def test_files_of_a_pattern_are_read_one_after_the_other_again_each_time(tmp_path):
    written(tmp_path / "a.jsonl", 3)
    written(tmp_path / "b.jsonl.gz", 2, start=3)
    tasks = StreamedTasks(f"{tmp_path}/*.jsonl*", Columns())
    for _ in range(2):
        assert prompts(tasks) == [f"{n} + 1 =" for n in range(5)]
    assert prompts(tasks.after(3)) == ["3 + 1 =", "4 + 1 ="]


def test_an_address_that_fsspec_knows_is_read():
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://rows/a.jsonl", "wb") as file:
        file.write(b'{"question": "a", "answer": 1}\n')
    assert prompts(StreamedTasks("memory://rows/a.jsonl", Columns())) == ["a"]


def test_rows_that_can_not_be_used_are_counted_and_the_first_are_named(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"question": "a", "answer": 1}\nnot json\n{"answer": 2}\n{"question": "b", "answer": 3}\n')
    tasks = StreamedTasks(str(path), Columns())
    assert prompts(tasks) == ["a", "b"] and prompts(tasks.after(0)) == ["a", None, None, "b"]
    assert tasks.unusable == 2 and tasks.skipped[0].startswith(f"{path}:2: is not JSON")


def test_tables_are_streamed_by_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"question": f"{n} + 1 =", "answer": str(n + 1)} for n in range(5)]
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "t.parquet"))
    tasks = StreamedTasks(str(tmp_path / "t.parquet"), Columns())
    assert [task.columns["answer"] for task in tasks] == ["1", "2", "3", "4", "5"]
    assert prompts(tasks.after(4)) == ["4 + 1 ="]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("nowhere.jsonl", "nowhere.jsonl: cannot be read"),
        ("nosuch://x/y.jsonl", "cannot be read: Protocol not known"),
        ("nowhere.parquet", "cannot be streamed by datasets"),
    ],
)
def test_what_can_not_be_read_is_one_line(rows, said):
    with pytest.raises(DataError, match=said) as caught:
        envs.make("stream", rows=rows)
    assert "\n" not in str(caught.value)


def test_the_environment_holds_the_first_tasks_and_those_of_the_test(tmp_path):
    written(tmp_path / "d.jsonl", 100)
    written(tmp_path / "t.jsonl", 9)
    env = envs.make("stream", rows=f"{tmp_path}/d.jsonl", test_rows=f"{tmp_path}/t.jsonl", limit=5)
    assert len(env.tasks("train")) == 32 and len(env.tasks("test")) == 5
    assert sum(1 for _ in env.stream) == 100
    assert env.report()[0] == f"training tasks are streamed from {tmp_path}/d.jsonl, 5 test tasks"
    assert envs.make("digit_sums").stream is None


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("envs.streaming.LONGEST_LINE", 1 << 20)
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(bytes(8 << 20)))
    with pytest.raises(DataError, match=r"line 1 of .*bomb.jsonl.gz is longer than 1,048,576 bytes"):
        next(StreamedTasks(str(tmp_path / "bomb.jsonl.gz"), Columns()).after(0))
