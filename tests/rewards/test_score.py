"""`python -m rewards.score`: output, and one line for wrong input."""

import json
import sys
from pathlib import Path

import pytest

from rewards.score import main
from tests.timing import seconds_of


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": "1+1?", "completion": "<think>one and one</think><answer>2</answer>", "answer": "2"},
        {"completion": [{"role": "assistant", "content": "3"}], "answer": "2"},
        {"completion": "3", "answer": None},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "\n")
    return path


def test_one_object_a_row(rows, tmp_path):
    output = tmp_path / "out.jsonl"
    assert main(["--reward", "accuracy,format,language", "--input", str(rows), "--output", str(output)]) == 0
    made = [json.loads(line) for line in output.read_text().splitlines()]
    assert made[0] == {"accuracy": 1.0, "format": 1.0, "language": 1.0, "error": None}
    assert made[1]["accuracy"] == 0.0
    assert made[2]["accuracy"] is None
    assert "can't be read" in made[2]["error"]


def test_standard_output_is_the_default(rows, capsys):
    assert main(["--reward", "format", "--input", str(rows)]) == 0
    assert [json.loads(line)["format"] for line in capsys.readouterr().out.splitlines()] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("reward", "text", "said"),
    [
        ("accuracyy", '{"completion": "3"}', "did you mean accuracy"),
        ("format", None, "can't be read: No such file"),
        ("format", '{"completion": "3"}\n{"completion": ', "line 2: not JSON"),
        ("format", '{"prompt": "3"}', "line 1: 'completion' must be a string or a list of messages; columns: prompt"),
        ("format", '{"completion": "3", "prompt": 4}', "line 1: 'prompt' must be"),
        ("format", "[1]", "line 1: a row must be an object, got list"),
        ("format", "", "holds no rows"),
        ("format", '{"completion": "3", "completion_ids": [1]}\n{"completion": "3"}', "1 of 2 rows have no list"),
        (",", '{"completion": "3"}', "names no reward"),
        ("no_module_x:f", '{"completion": "3"}', "module no_module_x not imported"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, capsys, reward, text, said):
    path = tmp_path / "in.jsonl"
    if text is not None:
        path.write_text(text)
    assert main(["--reward", reward, "--input", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_each_row_says_what_is_wrong_with_itself(tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    path.write_text('{"completion": "3", "answer": null}\n{"completion": "1 2", "answer": "1"}\n')
    assert main(["--reward", "accuracy,language", "--input", str(path)]) == 0
    first, second = (json.loads(line)["error"] for line in capsys.readouterr().out.splitlines())
    assert "can't be read" in first
    assert second is None  # language does not apply to a number: that is no error


def test_options_and_token_counts_reach_the_reward(tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    path.write_text('{"completion": "x", "completion_ids": [1, 2, 3]}\n{"completion": "y", "completion_ids": [1]}\n')
    options = ["--option", "overlong.max_length=4", "--option", "overlong.buffer=2"]
    assert main(["--reward", "overlong", "--input", str(path), *options]) == 0
    # 3 tokens: ((4 - 2) - 3) / 2
    assert [json.loads(line)["overlong"] for line in capsys.readouterr().out.splitlines()] == [-0.5, 0.0]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("max_length=4", "must look like NAME.key=value"),
        ("overlong.max_length", "must look like NAME.key=value"),
        ("format.x=1", "format is not among --reward overlong"),
        ("overlong.max_len=4", "its options: max_length, buffer"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(rows, capsys, option, said):
    assert main(["--reward", "overlong", "--input", str(rows), "--option", option]) == 2
    assert said in capsys.readouterr().err


def test_a_byte_order_mark_is_no_row(tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"completion": "3"}\n')
    assert main(["--reward", "format", "--input", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == 0.0


def test_a_long_text_may_be_written_short(tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    path.write_text('{"completion": {"parts": [["a b c ", 3], ["d", 1]]}}\n')
    assert main(["--reward", "repetition", "--input", str(path)]) == 0
    # a b c a b c a b c d: 8 trigrams, 4 distinct: abc bca cab bcd
    assert json.loads(capsys.readouterr().out)["repetition"] == -0.5


def test_an_output_that_cannot_be_written_is_named(rows, tmp_path, capsys):
    assert main(["--reward", "format", "--input", str(rows), "--output", str(tmp_path / "no" / "out")]) == 2
    assert "can't be written" in capsys.readouterr().err


def test_help_is_fast():
    assert seconds_of(sys.executable, "-m", "rewards.score", "--help") < 1.0


def test_what_would_act_on_the_terminal_is_escaped(tmp_path, capsys, monkeypatch):
    (tmp_path / "acts.py").write_text("def f(completions, **_):\n    raise ValueError('\\x1b]52;c;aGk=\\x07\\x9b2J')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "", "completion": "\x1b[2J"}))
    main(["--reward", "acts:f", "--input", str(path)])
    said = capsys.readouterr()
    assert all(sign not in said.out + said.err for sign in ("\x1b", "\x9b", "\x07"))
    assert "\\x1b]52;" in said.err
