"""Answers by kind are judged as their table says; lenient pays what strict pays."""

import pytest

import rewards
from tests.rewards.maths.fresh_kinds import FRESH_KINDS, L
from tests.rewards.maths.kinds import KINDS, B
from tests.rewards.maths.more_instances import INSTANCES
from tests.rewards.maths.more_kinds import MORE_KINDS
from tests.rewards.maths.sentences import SENTENCES

ALL = KINDS | MORE_KINDS
# What lenient pays on purpose: numbers that are not worked out, a set for a list.
LENIENT_TOO = {
    B("~3"),
    B("1.41"),
    B("√4"),
    B("2^3 3^2"),
    B(r"e^{i\pi}"),
    B(r"\{1,2\}"),
}


@pytest.fixture(scope="module")
def profiles():
    made = rewards.get("accuracy"), rewards.get("accuracy_lenient")
    yield made
    made[0].close()


@pytest.mark.parametrize("kind", ALL)
def test_answers_of_a_kind(profiles, kind):
    rows = [(*row, "What is it?")[:4] for row in ALL[kind]]
    prompts, completions = [row[3] for row in rows], [row[1] for row in rows]
    strict, lenient = (profile(prompts, completions, answer=[row[0] for row in rows]) for profile in profiles)
    assert [row[:3] for row, value in zip(rows, strict, strict=True) if value != row[2]] == []
    wrong = [row[:3] for row, value in zip(rows, lenient, strict=True) if value != row[2]]
    assert [row for row in wrong if row[2] or row[1] not in LENIENT_TOO] == []


@pytest.mark.parametrize("kind", [*FRESH_KINDS, *SENTENCES, "any"])
def test_other_answers_of_a_kind(profiles, kind):
    rows = [(*row, "What is it?")[:4] for row in (FRESH_KINDS | SENTENCES).get(kind, INSTANCES)]
    prompts, completions, golds = ([row[at] for row in rows] for at in (3, 1, 0))
    for profile, paid in zip(profiles, ((1,), (1, L)), strict=True):
        values = profile(prompts, completions, answer=golds)
        assert [row[:3] for row, value in zip(rows, values, strict=True) if (value == 1.0) != (row[2] in paid)] == []
