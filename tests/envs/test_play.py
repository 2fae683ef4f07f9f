"""`envs play`: a person in the model's seat; the examples of docs/environments.md and docs/tools.md."""

import importlib
import io
import re
import sys
from pathlib import Path

import pytest

from envs import DataError, make
from envs.__main__ import main
from envs.play import play

PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("environments.md", "tools.md")]


@pytest.fixture
def examples(tmp_path, monkeypatch):
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    found = dict(re.findall(r"`(\w+)\.py`:\n\n```python\n(.*?)```", text, flags=re.DOTALL))
    for name, code in found.items():
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return found


def test_the_examples_are_as_short_as_the_page_says(examples):
    lines = {name: sum(bool(line.strip()) for line in code.splitlines()) for name, code in examples.items()}
    assert lines["guess"] <= 20 and lines["shop"] <= 30


def test_the_guessing_game_of_the_page_is_played(examples):
    out = io.StringIO()
    assert play(make("guess:make"), 7, ["3\n", "I say 9\n", "7\n"], out) == pytest.approx(0.8)
    assert out.getvalue().splitlines()[0] == "Guess my number from 0 to 9."
    assert "user: It is larger.\nuser: It is smaller.\n" in out.getvalue()


def test_the_shop_of_the_page_answers_calls(examples):
    out = io.StringIO()
    call = '<tool_call>{"name": "price", "arguments": {"item": "%s"}}</tool_call>\n'
    play(make("shop:make"), 0, [call % "apple", call % "gold", "8\n"], out)
    assert "tool price(item): Look up what an item costs." in out.getvalue()
    assert "tool: 3\ntool: error: KeyError: 'gold'\nover" in out.getvalue()


def test_an_environment_that_does_not_answer_can_not_be_played(capsys):
    assert main(["play", "arithmetic"]) == 2
    assert "does not answer: its tasks have one turn" in capsys.readouterr().err
    with pytest.raises(DataError, match="not 99"):
        play(make("twenty_questions"), 99, [])


def test_show_prints_tools_and_that_it_answers(capsys):
    assert main(["show", "with_tools", "-n", "1"]) == 0
    shown = capsys.readouterr().out
    assert "it answers: a conversation of several turns" in shown and "tool calculator(expression): Work out" in shown


def test_show_has_the_reply_to_a_turn_that_is_made_up(examples, capsys):
    assert main(["show", "guess:make", "-n", "2"]) == 0
    shown = capsys.readouterr().out
    assert "  assistant, made up: 0\n  rewards {" in shown and "  the conversation is over" in shown
    assert shown.count("made up") == 1
    assert main(["show", "shop:make", "-n", "1"]) == 0
    shown = capsys.readouterr().out
    assert '  assistant, made up: price({"item": "1"})\n  tool: error: KeyError: \'1\'' in shown
