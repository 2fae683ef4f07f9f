# ruff: noqa: E501
"""Programs in other dress, tests that only seem to judge them, and how they end."""

import pytest

from rewards.code import trial
from rewards.code.reward import CodeReward
from rewards.sandbox.isolations import Limits

SQUARE = "def f(x):\n    return x * x"
TESTS = ["assert f(2) == 4", "assert f(3) == 9"]


@pytest.fixture(scope="module")
def reward():
    return CodeReward(cpu_seconds=2)


def fenced(code):
    return f"```python\n{code}\n```"


def score(reward, completion, prompt="", **columns):
    """The value and the outcome of one completion."""
    judged = reward(prompts=[prompt], completions=[completion], **{name: [value] for name, value in columns.items()})
    return judged[0], list(judged.outcomes)


PROMPT = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Sum of a list."""\n'
TOTAL = {"test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n", "entry_point": "total"}


@pytest.mark.parametrize(
    "completion",
    [
        "<answer>```python\ndef total(xs):\n    return sum(xs)\n```</answer>",
        "<answer>```\ndef total(xs):\n    return sum(xs)```</answer>",
        "Here it is: ```python\ndef total(xs):\n    return sum(xs)\n```",
        "def total(xs):\n    return sum(xs)\n",
        "Here it is:\n\nfrom math import fsum\ndef total(xs):\n    return int(fsum(xs))\n\nIt adds them.",
        "<think>Easy.</think>\n<answer>\ndef total(xs):\n    return sum(xs)\n</answer>",
        "    return sum(xs)\n",
        "    s = 0\n    for x in xs:\n        s += x\n    return s\n\n\nprint(total([1",
        "return sum(xs)",
        "s = 0\n    for x in xs:\n        s += x\n    return s",
        "s = 0\nfor x in xs:\n    s += x\nreturn s",
        "```python\n    return sum(xs)\n```",
    ],
)
def test_answers_in_other_dress(reward, completion):
    assert score(reward, completion, prompt=PROMPT, **TOTAL) == (1.0, ["pass"])
    wrong = completion.replace("sum(xs)", "0").replace("+= x", "+= 0")
    assert score(reward, wrong, prompt=PROMPT, **TOTAL)[0] == 0.0


@pytest.mark.parametrize(
    "test",
    [
        "assert all(map(f, [1, 2]))",
        "assert not any(map(f, [1, 2]))",
        "assert sum(map(f, [1, 2])) == 0",
        "assert list(filter(f, [1, 2])) == []",
        "assert list(zip(map(f, [1]), [2])) == []",
        "for y in map(f, [1]):\n    assert y == 1",
        "for y in map(f, [1]):\n    assert y == 1\nassert not [y for y in map(f, [2])]",
        "assert max(map(f, [1]), default=0) == 0",
        "assert next(map(f, [1]), 3) == 3",
        "assert dict(zip([1], map(f, [1]))) == {}",
        "import itertools\nassert list(itertools.takewhile(f, [1])) == [] and set(itertools.starmap(f, [(1,)])) == set()",
        "assert list(iter(lambda: f(1), 0)) == [] and [*map(f, [1])] == []",
        "class Each:\n    def __iter__(self): return self\n    def __next__(self): return f(1)\nassert tuple(Each()) == ()",
        "import functools\nassert functools.reduce(lambda a, b: a + b, map(f, [1]), 0) == 0\na, *rest = [1, *map(f, [1])]",
        "try:\n    for y in map(f, [1]):\n        assert y\nexcept ValueError:\n    pass",
    ],
)
def test_an_exception_of_the_program_ends_no_loop_of_a_test(reward, test):
    for kind in ("StopIteration", "type('Mine', (StopIteration,), {})", "StopAsyncIteration"):
        assert score(reward, fenced(f"def f(x):\n    raise {kind}"), tests=[test]) == (0.0, ["error"])


@pytest.mark.parametrize(
    "test",
    [
        "try:\n    f(1)\n    assert False\nexcept StopIteration:\n    pass",
        "try:\n    f(1)\n    assert False\nexcept (KeyError, StopIteration) as e:\n    assert e.args == (7,)",
        "import unittest\nassert unittest.TestCase().assertRaises(StopIteration, f, 1) is None",
        "try:\n    f(1)\n    assert False\nexcept Exception as e:\n    assert type(e).__name__ == 'StopIteration'",
    ],
)
def test_a_test_that_expects_the_end_of_an_iteration_can_see_it(reward, test):
    assert score(reward, fenced("def f(x):\n    raise StopIteration(7)"), tests=[test]) == (1.0, ["pass"])
    assert score(reward, fenced("def f(x):\n    return 7"), tests=[test])[0] == 0.0


@pytest.mark.parametrize(
    "test",
    [
        "a = [3, 1]\nf(a)\nassert a == [1, 3]",
        "a = [3, 1]\nassert f(a) is None\nassert a == [1, 3]",
        "a = [3, 1]\nb = f(a)\nassert a == [3, 1]",
    ],
)
def test_a_test_of_a_changed_argument_can_not_be_judged(reward, test):
    code = fenced("def f(x):\n    x.sort()")
    assert score(reward, code, tests=[test]) == (None, ["bad_tests"])
    check = "def check(candidate):\n" + "".join(
        f"    {line}\n" for line in test.replace("f(", "candidate(").split("\n")
    )
    assert score(reward, code, test=check, entry_point="f") == (None, ["bad_tests"])


def test_a_test_may_look_at_its_own_names(reward):
    code = fenced("def f(x):\n    return sorted(x)")
    for test in ("a = [3, 1]\nb = f(a)\nassert b == sorted(a)", "for a in ([2], [1]):\n    assert f(a) == sorted(a)"):
        assert score(reward, code, tests=[test]) == (1.0, ["pass"])


def test_programs_that_sleep_fail_at_their_own_limit_and_hold_nobody_up():
    codes = ["import time\ntime.sleep(99)\n" + SQUARE + f"\nn = {n}" for n in range(8)]
    closes = ["import os, time\nos.closerange(0, 64)\ntime.sleep(99)\n" + SQUARE]
    good = [SQUARE + f"\nn = {n}" for n in range(8)]
    completions = [fenced(code) for code in codes + closes + good]
    reward = CodeReward(cpu_seconds=1, workers=2)  # 3 * 1 + 3 s of wall-clock time each
    judged = reward(prompts=[""] * 17, completions=completions, tests=[TESTS] * 17)
    assert list(judged) == [0.0] * 9 + [1.0] * 8


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(int('x'))", "ValueError: invalid literal for int()"),
        ("class Mine(Exception): pass\nraise Mine('so\\nit is')", "Mine: so it is"),
        ("def f(:", "SyntaxError"),
        ("exit(3)", "exit code 3"),
    ],
)
def test_the_exception_that_ends_a_program_is_named(reward, code, said):
    judged = reward(prompts=[""], completions=[fenced(code)], inputs=[["1\n"]], outputs=[["1\n"]])
    assert list(judged) == [0.0] and said in judged.messages["error"]


def test_what_is_written_as_a_program_ends_counts(reward):
    code = "import atexit, io, os, sys\nsys.stdout = io.StringIO()\n"
    code += "atexit.register(lambda: os.write(1, sys.stdout.getvalue().encode()))\nprint(int(input()) * 2)"
    assert score(reward, fenced(code), inputs=["2"], outputs=["4"]) == (1.0, ["pass"])


def test_on_a_crowded_machine_only_a_program_that_computes_is_given_time(monkeypatch):
    monkeypatch.setattr(trial, "crowding", lambda: 20.0)
    monkeypatch.setattr(Limits, "wall_seconds", 1.0)
    reward = CodeReward(cpu_seconds=4)
    for rest, value in (("time.sleep(2)", 0.0), ("while time.process_time() < 1.5: pass", 1.0)):
        code = fenced(f"import time\ndef f(x):\n    {rest}\n    return x * x")
        assert score(reward, code, tests=TESTS[:1])[0] == value
        script = fenced(f"import time\n{rest}\nprint(int(input()) ** 2)")
        assert score(reward, script, inputs=["2"], outputs=["4"])[0] == value
