"""The tools that come with the package."""

import json

import pytest

from envs import DataError, make
from envs.tools.calculator import calculator
from envs.tools.functions import ToolFault
from envs.tools.python import PythonTool
from envs.tools.search import Corpus, read_corpus, search_tool


@pytest.mark.parametrize(
    ("expression", "value"),
    [("2 + 3 * 4", "14"), ("7 / 2", "3.5"), ("2^10 =", "1024"), ("-(8 // 3) % 5", "3"), ("sqrt(16) + max(1, 2)", "6")],
)
def test_the_calculator_works_out_arithmetic(expression, value):
    assert calculator(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["", "2 +", "__import__('os')", "9**9**9", "'a' * 9", "x + 1", "(" * 200, "1" * 400, "1 / 0", "(-8) ** 0.5"],
)
def test_the_calculator_refuses_everything_else_at_once(expression):
    with pytest.raises((ValueError, ZeroDivisionError)):
        calculator(expression)


def ran(*codes, **options):
    tool, outputs = PythonTool(**options), []
    try:
        for code in codes:
            try:
                outputs.append(tool.call({"code": code}))
            except ToolFault as fault:
                outputs.append(f"error: {fault}")
    finally:
        tool.close()
    return outputs


def test_python_keeps_its_variables_and_shows_the_last_value():
    assert ran("x = 2", "x + 1", "print(x)\nx * 10") == ["", "3\n", "2\n20\n"]


def test_python_says_what_goes_wrong_and_goes_on():
    first, second, third = ran("x = 1", "1 / 0", "x")
    assert (first, second, third) == ("", "error: ZeroDivisionError: division by zero", "1\n")
    assert ran("def f(:")[0].startswith("error:") and "SyntaxError" in ran("def f(:")[0]


def test_python_that_hangs_is_ended_and_begins_anew():
    _, second, third = ran("x = 1", "while True: pass", "x", timeout_seconds=1.5)
    assert second == "error: the code took longer than 1.5 s; its variables are lost"
    assert "NameError" in third


def test_python_holds_no_files_and_long_output_is_cut():
    assert "Error" in ran("open('/etc/passwd').read()")[0]
    assert len(ran("print('x' * 10_000_000)")[0]) < 11_000


def test_search_ranks_by_bm25():
    corpus = Corpus(["the cat sat on the mat", "dogs chase cats", "the stock market fell", "a cat and a cat"])
    assert [text for _, text in corpus.best("cat")] == ["a cat and a cat", "the cat sat on the mat"]
    # idf = ln(1 + (4 - 2 + .5) / (2 + .5)) = ln 2; lengths 6, 3, 4, 5, mean 4.5; tf 2, |d| / mean 10 / 9
    # ln 2 * 2 * 2.5 / (2 + 1.5 * (.25 + .75 * 10 / 9)) = .6931 * 5 / 3.625
    assert corpus.best("cat")[0][0] == pytest.approx(0.6931472 * 5 / 3.625)
    assert search_tool(corpus).call({"query": "zebra"}) == "nothing found"
    assert search_tool(corpus).call({"query": "market"}) == "[1] the stock market fell"


def test_a_corpus_is_a_file_or_a_folder(tmp_path):
    (tmp_path / "a.txt").write_text("about bees")
    assert read_corpus(str(tmp_path)).documents == ["about bees"]
    file = tmp_path / "c.jsonl"
    file.write_text(json.dumps({"title": "Bees", "text": "make honey"}) + "\n")
    assert read_corpus(str(file)).documents == ["Bees\nmake honey"]
    file.write_text("{}\n")
    with pytest.raises(DataError, match=r'c.jsonl:1: a document needs a "text"'):
        read_corpus(str(file))


def test_any_environment_gets_tools():
    env = make("with_tools", env="arithmetic", tools=["calculator", "python"])
    task = env.tasks("train")[0]
    talk = env.converse(task)
    assert [tool.name for tool in talk.tools] == ["calculator", "python"]
    assert env.converse(task).tools[1] is not talk.tools[1]
    with pytest.raises(DataError, match="there is no tool 'abacus'"):
        make("with_tools", tools=["abacus"])
    with pytest.raises(DataError, match="search needs corpus"):
        make("with_tools", tools=["search"])
