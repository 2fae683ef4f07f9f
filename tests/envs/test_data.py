"""Files and data sets as environments."""

import gzip
import itertools
import json
import os
from pathlib import Path

import datasets
import pytest

from envs import DataError, files, make
from envs.data import from_rows

SHARED = Path(os.environ.get("GRPO_SHARED", Path(__file__).parents[3] / "shared")) / "data"


@pytest.fixture
def write(tmp_path):
    def write(content, name="rows.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def rows(count, start=0):
    return "".join(f'{{"question": "{n} + 1?", "answer": "{n + 1}"}}\n' for n in range(start, start + count))


def message_of(name, **options):
    with pytest.raises(DataError) as raised:
        make(name, **options)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_row_keeps_the_line_it_stands_at(write):
    env = make(write("\n" + rows(1)))
    assert [task.id for task in env.tasks("train")] == ["rows.jsonl:2"]


def test_one_row_is_trained_on_and_none_held_out(write):
    env = make(write(rows(1)))
    assert (len(env.tasks("train")), list(env.tasks("test"))) == (1, [])


def test_malformed_rows_are_named_counted_and_skipped(write):
    bad = '{"question": "1+1?", "answer": "2"\n{"question": "", "answer": "2"}\n[]\n'
    path = write(rows(2) + bad)
    env = make(path)
    assert len(env.tasks("train")) + len(env.tasks("test")) == 2
    assert env.skipped == [
        f"{path}:3: is not JSON: expecting ',' delimiter at column 35",
        f"{path}:4: question is empty",
        f"{path}:5: not an object with columns but a list",
    ]


def test_a_malformed_row_is_fatal_under_strict(write):
    path = write(rows(2) + '{"question": "1+1?"}\n')
    assert message_of(path, strict=True).startswith(f"{path}:3: no answer column")


def test_no_usable_row_is_one_line_with_the_first_problem(write):
    path = write('{"foo": 1}\n{"bar": 2}\n')
    first = "line 1: no prompt column, looked for prompt, question, problem, instruction, messages, conversations"
    assert message_of(path).startswith(f"{path}: no usable row of 2; first problem: {first}; found foo")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        (b"\xff\xfe\n", "line 1: is not UTF-8"),
        ("[" * 100_000, "line 1: is not"),
        ('{"question": "1?", "answer": ' + "9" * 5000 + "}", "line 1: is not usable JSON"),
        ('{"question": "\\ud800", "answer": "2"}', "line 1: holds half a surrogate pair"),
    ],
)
def test_unreadable_files_are_one_line(write, content, reason):
    assert reason in message_of(write(content))


def test_a_missing_file_is_one_line():
    assert message_of("/no/such/rows.jsonl") == "/no/such/rows.jsonl: no such file"
    assert message_of("/no/such/rows.parquet") == "/no/such/rows.parquet: no such file"


def test_a_byte_order_mark_is_not_part_of_the_first_row(write):
    assert make(write(b"\xef\xbb\xbf" + rows(1).encode())).skipped == []


def test_line_separators_inside_a_text_do_not_end_the_row(write):
    env = make(write('{"question": "a\u2028b\x85?", "answer": "2"}\n'))
    assert env.tasks("train")[0].prompt == "a\u2028b\x85?"


def test_a_json_array_is_read_and_its_rows_are_numbered(write):
    path = write(json.dumps([{"question": "1+1?", "answer": 2}, {"foo": 1}]), "rows.json")
    env = make(path)
    assert env.tasks("train")[0].columns == {"answer": 2}
    assert env.skipped[0].startswith(f"{path}: row 2: no prompt column")


def test_every_task_has_the_same_columns(write):
    env = make(write('{"question": "a", "answer": "1", "level": 3}\n{"question": "b", "answer": "2"}\n'), test_size=0)
    assert sorted(task.columns["level"] or 0 for task in env.tasks("train")) == [0, 3]


def test_a_repeated_prompt_is_never_on_both_sides(write):
    env = make(write(rows(10) * 3), test_size=5)
    train, test = ({task.prompt for task in env.tasks(split)} for split in ("train", "test"))
    assert not train & test
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (15, 5)


def test_a_file_of_test_data_is_the_test_split_and_nothing_else_is_held_out(write):
    env = make(write(rows(20)), test_data=write(rows(4, start=18), "test.jsonl"))
    assert sorted(task.prompt for task in env.tasks("test")) == ["18 + 1?", "19 + 1?", "20 + 1?", "21 + 1?"]
    assert len(env.tasks("train")) == 18
    assert env.notes == ["2 rows repeat a held-out prompt: left out of training"]


def test_test_data_that_holds_everything_is_refused(write):
    path = write(rows(3))
    assert "nothing is left to train on" in message_of(path, test_data=path)


def test_rows_in_memory_are_all_trained_on():
    env = from_rows([{"prompt": "Write."}, {"prompt": "Read."}])
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (2, 0)


def test_a_local_directory_is_loaded_as_a_hub_data_set_is(tmp_path, monkeypatch, write):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(rows(5))
    (tmp_path / "set" / "test.jsonl").write_text(rows(2, start=5))
    env = make(str(tmp_path / "set"), test_split="test")
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (5, 2)
    assert env.tasks("train")[0].columns["answer"] == str(int(str(env.tasks("train")[0].prompt).split()[0]) + 1)


def test_parquet_is_read(tmp_path):
    import datasets

    path = str(tmp_path / "rows.parquet")
    datasets.Dataset.from_list([{"problem": f"{n}?", "answer": str(n)} for n in range(4)]).to_parquet(path)
    env = make(path, test_size=1)
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (3, 1)


def test_what_the_hub_cannot_give_is_one_line(monkeypatch):
    import datasets

    def refuse(*args, **kwargs):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    assert message_of("openai/gsm8k", config="main") == (
        "openai/gsm8k: cannot be loaded by datasets: no network at all; a local file needs no network"
    )


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="real data sets are not here; set GRPO_SHARED to the folder above data/"
)
@pytest.mark.parametrize(
    ("name", "count"),
    [("easy_arith_train", 2558), ("gsm8k_test", 1319), ("math_train", 7465), ("math500", 500), ("aime24", 30)],
)
def test_real_data_sets_are_read_whole(name, count):
    env = make(str(SHARED / f"{name}.jsonl"), test_size=0)
    assert (len(env.tasks("train")), env.skipped) == (count, [])


def test_an_endless_generator_is_cut_and_said_to_be(monkeypatch):
    monkeypatch.setattr("envs.data.ENDLESS", 10)
    env = from_rows({"prompt": f"{n}?"} for n in itertools.count())
    assert len(env.tasks("train")) == 10
    assert env.notes == [
        "train_dataset gives more than 10 rows and may have no end: the first 10 are taken (max_rows=N)"
    ]
    assert not from_rows({"prompt": f"{n}?"} for n in range(10)).notes


def test_rows_of_python_reach_the_rewards_as_they_are():
    env = from_rows([{"prompt": "?", "answer": "work\n#### 1,000", "tests": (1, 2)}])
    assert env.tasks("train")[0].columns == {"answer": "work\n#### 1,000", "tests": (1, 2)}


def test_a_report_counts_tasks_and_skipped_rows_and_names_the_first(write):
    path = write(rows(3) + '{"a": 1}\n' * 5)
    lines = make(path, test_size=1).report()
    assert lines[:2] == ["2 train, 1 test tasks", "skipped 5 rows that can't be used (the first 3 are shown):"]
    assert len(lines) == 5 and lines[2].startswith(f"  {path}:4: no prompt column")


def test_answers_that_are_objects_are_said_where_a_reward_needs_them(write):
    path = write('{"question": "1?", "answer": {"value": "1"}}\n' * 2)
    assert "answer_column=answer.KEY" in make(path).notes[0]
    assert make(path, needs_answer=False).notes == []
    assert make(path, answer_column="answer.value").tasks("train")[0].columns["answer"] == "1"


def test_a_verl_parquet_file_is_read_as_it_is(tmp_path):
    rows = [
        {"data_source": "x", "prompt": [{"role": "user", "content": f"{n}?"}],
         "reward_model": {"style": "rule", "ground_truth": str(n)}, "extra_info": {"index": n}}
        for n in range(3)
    ]  # fmt: skip
    path = str(tmp_path / "train.parquet")
    datasets.Dataset.from_list(rows).to_parquet(path)
    task = make(path, test_size=0, limit=1).tasks("train")[0]
    n = task.columns["extra_info"]["index"]
    assert (task.prompt, task.columns["answer"]) == ([{"role": "user", "content": f"{n}?"}], str(n))


def test_max_rows_bounds_what_is_read(write):
    assert len(make(write(rows(9)), max_rows=4, test_size=0).tasks("train")) == 4


def test_packed_files_are_read(write):
    path = write(gzip.compress(rows(3).encode()), "rows.jsonl.gz")
    assert make(path, test_size=0).tasks("train")[0].id.startswith("rows.jsonl.gz:")
    assert "cannot be unpacked" in message_of(write("no gzip", "bad.json.gz"))


def test_a_packed_file_that_inflates_without_measure_is_refused(write, monkeypatch):
    monkeypatch.setattr(files, "SMALL_BYTES", 1 << 20)
    bomb = write(gzip.compress(bytes(8 << 20)), "bomb.jsonl.gz")
    assert "unpacks to more than 1,048,576 bytes: unpack it first" in message_of(bomb)


def test_one_object_around_the_rows_is_looked_into(write):
    wrapped = json.dumps({"version": 1, "data": json.loads("[" + rows(2).strip().replace("\n", ",") + "]")}, indent=1)
    assert len(make(write(wrapped, "rows.json"), test_size=0).tasks("train")) == 2
    two = {"train": [{"question": "1?"}], "test": [{"question": "2?"}]}
    assert "one object with the lists train, test: write the rows" in message_of(write(json.dumps(two), "two.json"))


def test_json_lines_may_be_called_json(write):
    lines = '{"messages": [{"role": "user", "content": "1?"}], "answer": "1"}\n'
    assert len(make(write(lines, "one.json"), test_size=0).tasks("train")) == 1
    assert len(make(write(lines + lines.replace("1?", "2?"), "two.json"), test_size=0).tasks("train")) == 2


def test_columns_in_one_object_are_rows(tmp_path):
    path = tmp_path / "columns.json"
    path.write_text(json.dumps({"question": ["1 + 1?", "2 + 2?"], "answer": [2, 4]}))
    asked = {task.prompt: task.columns["answer"] for task in make(str(path), test_size=0).tasks("train")}
    assert asked == {"1 + 1?": 2, "2 + 2?": 4}


def test_a_file_of_another_kind_is_told_which_are_read(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("question\tanswer\n1\t2\n")
    with pytest.raises(DataError, match=r"a data file's name ends in one of \.jsonl, "):
        make(str(path))
