"""Overlap of training files with benchmarks."""

import json

import pytest

from benchmarks.leak import main
from distill.corpus.duplicates import find_leaks, words_of

PROBLEM = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
COPY = "NATALIA sold   clips to 48 of her friends in April -- and then she sold half as many clips, in May!"
OTHER = "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting. How much?"


def leaks(*rows, problems=(PROBLEM, OTHER)):
    numbered = [(f"bench.jsonl:{n}", text) for n, text in enumerate(problems, 1)]
    return find_leaks(numbered, ((f"train.jsonl:{n}", text) for n, text in enumerate(rows, 1)))


def test_a_copy_with_other_case_and_marks_is_found():
    (leak,) = leaks("nothing here", f"Question: {COPY} Answer: 72")
    assert (leak.problem, leak.row, leak.share) == ("bench.jsonl:1", "train.jsonl:2", 1.0)
    assert leak.shared == 11  # 20 words: 11 runs of ten


def test_ten_words_in_a_row_are_a_leak_and_nine_are_not():
    words = words_of(PROBLEM)
    assert leaks("x " + " ".join(words[3:12]) + " y") == []
    (leak,) = leaks("x " + " ".join(words[3:13]) + " y")
    assert leak.shared == 1 and leak.share == pytest.approx(1 / 11) and leak.text == " ".join(words[3:13])


def test_a_short_problem_leaks_as_a_whole():
    assert [leak.share for leak in leaks("So what is 7 + 5? It is 12", problems=["What is 7 + 5?"])] == [1.0]
    assert leaks("What is 7 + 6?", problems=["What is 7 + 5?"]) == []


def test_the_row_that_shares_most_is_named():
    words = words_of(PROBLEM)
    (leak,) = leaks(" ".join(words[:11]), COPY, " ".join(words[:12]))
    assert leak.row == "train.jsonl:2"


def test_scripts_without_spaces_are_compared_by_character():
    problem = "珍妮特的鸭子每天下十六个蛋她吃三个"
    assert len(leaks("前文" + problem[2:14] + "后文", problems=[problem])) == 1
    assert leaks(problem[:9], problems=[problem]) == []


def test_the_command_reads_every_text_of_a_row(tmp_path, capsys):
    (tmp_path / "bench.jsonl").write_text(
        json.dumps({"problem": PROBLEM}) + "\n" + json.dumps({"problem": OTHER}) + "\n"
    )
    nested = {"messages": [{"role": "user", "content": COPY}], "n": 3}
    (tmp_path / "train.jsonl").write_text(json.dumps(nested) + "\n")
    arguments = ["--train", str(tmp_path / "train.jsonl"), "--benchmark", str(tmp_path / "bench.jsonl")]
    assert main([*arguments, "--output", str(tmp_path / "leaks.jsonl")]) == 0
    assert "| bench.jsonl | 2 | 1 | 1 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "leaks.jsonl").read_text())["share"] == 1.0
    assert main([*arguments, "--fail"]) == 1


@pytest.mark.parametrize(("name", "text"), [("nowhere.jsonl", None), ("bench.jsonl", '{"text": "x"}\n')])
def test_a_wrong_file_is_one_line(tmp_path, capsys, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert main(["--train", str(tmp_path / name), "--benchmark", str(tmp_path / name)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and name in err and err.count("\n") == 1
