"""Which functions can be sent to another process."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from rewards import RewardSet, get
from rewards.users.packing import CannotBeSent, is_built_in, pack, unpack
from tests.rewards.users import misbehaving

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (misbehaving.constant, 1.0),
        (misbehaving.Scorer(4.0), 4.0),
        (misbehaving.Scorer(4.0).method, 5.0),
        (misbehaving.Scorer.static, 7.0),
        (functools.partial(misbehaving.length, answer=["1"]), 2.0),
    ],
)
def test_functions_methods_and_objects_are_sent(function, value):
    assert unpack(pack(function))(completions=["c"]) == [value]
    with RewardSet({"mine": 1.0}, functions={"mine": function}) as rewards:
        assert (rewards.score(["p"], ["c"]).totals, rewards.notes) == ([value], [])


def made_with(worth, words=("a", "b")):
    """A function as open-r1's factories make them."""

    def scaled(text):
        return worth * len(text)

    def reward(completions, **columns):
        return [scaled(text) + len(words) + misbehaving.Scorer().worth for text in completions]

    return reward


def test_functions_inside_functions_are_sent_with_the_constants_they_close_over():
    with RewardSet({"mine": 1.0}, functions={"mine": made_with(0.5)}) as rewards:
        # half of 4 characters, 2 words, and 2 from another module
        assert (rewards.score(["p"], ["abcd"]).totals, rewards.notes) == ([6.0], [])


def test_what_cannot_be_sent_says_why():
    seen = []

    def over(completions):
        seen.append(1)
        return [1.0]

    for function, why in [
        (lambda completions: [1.0], "it is a lambda"),
        (over, "over is a closure over seen, a list"),
    ]:
        with pytest.raises(CannotBeSent, match=why):
            pack(function)
        with RewardSet({"mine": 1.0}, functions={"mine": function}) as rewards:
            assert rewards.score(["p"], ["c"]).totals == [1.0]
            assert len(rewards.notes) == 1 and why in rewards.notes[0]


def test_our_own_rewards_stay_and_nothing_is_said():
    assert is_built_in(get("format"))
    with RewardSet({"format": 1.0, "mine": 1.0}, functions={"mine": get("format")}) as rewards:
        assert rewards.notes == []


SCRIPT = """
import math, os
from collections import Counter as Count
from rewards import RewardSet

TRAINER, WORDS = os.getpid(), {"a": 2.0}

def worth(text, depth=1):
    return math.sqrt(16) * WORDS.get(text, 0.0) if depth == 0 else worth(text, depth - 1)

def mine(completions, *, times=1.0, **columns):
    assert os.getpid() != TRAINER and Count("aa")["a"] == 2
    return [times * max(worth(part) for part in text.split()) for text in completions]

class Keeps:
    def __call__(self, completions, **_):
        return [1.0] * len(completions)

LOCK = __import__("threading").Lock()
def locked(completions, **_):
    with LOCK:
        return [1.0] * len(completions)

calls = 0
def counts(completions, **_):
    global calls
    calls += 1
    return [1.0] * len(completions)

functions = {"mine": mine, "keeps": Keeps(), "locked": locked, "counts": counts}
with RewardSet(dict.fromkeys(functions, 1.0), functions=functions) as rewards:
    scores = rewards.score(["p", "p"], ["a b", "b"])
    print(scores.values["mine"], scores.totals, scores.messages)
    for note in rewards.notes:
        print(note)
"""


def test_functions_of_a_script_go_by_value_and_the_script_does_not_run_again(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, env=environment, timeout=60)
    # sqrt(16) * 2 = 8 for the word a; the other three rewards add 1 each
    assert done.stderr == ""
    first, *notes = done.stdout.splitlines()
    assert first == "[8.0, 0.0] [11.0, 3.0] {}"
    assert [note.rpartition(": ")[0].split(",")[0] for note in notes]
    assert len(notes) == 3
    assert "needs the class Keeps of the script itself" in notes[0]
    assert "locked" in notes[1] and "counts" in notes[2] and "changes the script's global calls" in notes[2]
