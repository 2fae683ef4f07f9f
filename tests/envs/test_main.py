"""python -m envs."""

import json
import sys

import pytest

from envs.__main__ import main
from tests.timing import seconds_of


def test_list_shows_every_environment(capsys):
    assert main(["list"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in ("arithmetic", "countdown", "digit_sums", "gsm8k", "reasoning_gym:TASK"))


def test_show_prints_as_many_tasks_as_asked(capsys):
    assert main(["show", "arithmetic", "-n", "2", "operations=+", "high=2"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("arithmetic: 3 train, 1 test tasks; rewards accuracy")
    assert output.count("\nWhat is") == 2


def test_show_names_the_options_in_effect(capsys):
    assert main(["show", "digit_sums", "-n", "0", "seed=7"]) == 0
    assert "options: test_size=200, seed=7, limit=null" in capsys.readouterr().out


def test_show_names_what_a_preset_fills_in(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n')
    assert main(["show", "word_problems", f"data={path}"]) == 0
    assert 'language="en"' in capsys.readouterr().out


def test_values_are_read_as_yaml(capsys):
    assert main(["show", "arithmetic", "operations=[+, -]", "test_size=0.5", "limit=1", "-n", "1"]) == 0
    assert "1 train, 1 test tasks" in capsys.readouterr().out


def test_skipped_rows_are_shown(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n{"foo": 1}\n')
    assert main(["show", str(path)]) == 0
    assert "skipped 1 rows that can't be used:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "no_such_env"],
        ["show", "arithmetic", "hihg=3"],
        ["show", "arithmetic", "high"],
        ["show", "/no/such.jsonl"],
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_help_answers_in_under_a_second():
    assert seconds_of(sys.executable, "-m", "envs", "--help") < 1.0


def test_what_would_act_on_the_terminal_is_escaped(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "a\x1b[2J\x9bb", "answer": "\x1b]52;c;aGk=\x07", "id": "\x1b]0;t\x07"}))
    assert main(["show", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x9b" not in out and "\\x1b[2J" in out and "\\x1b]52;" in out
