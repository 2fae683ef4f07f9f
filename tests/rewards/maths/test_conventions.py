"""The conventions of docs/answers.md, row by row, and answers of public bug reports."""

import json
import re
from pathlib import Path

import pytest

import rewards

DOCS = Path(__file__).resolve().parents[3] / "docs" / "answers.md"
QUESTIONS = {"7 m": "How many meters?"}  # for rows that depend on the question


@pytest.fixture(scope="module")
def profiles():
    made = rewards.get("accuracy"), rewards.get("accuracy_lenient")
    yield made
    made[0].close()


def rows():
    """(reference, answer, strict, lenient) of the tables; several answers in a cell are several rows."""
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[2] in ("paid", "-"):
            for answer in re.findall(r"`([^`]+)`", cells[1]):
                yield cells[0].strip("`"), answer, cells[2] == "paid", cells[3] == "paid"


@pytest.mark.parametrize(("gold", "answer", "strict", "lenient"), list(rows()))
def test_the_documented_row(profiles, gold, answer, strict, lenient):
    prompt = QUESTIONS.get(gold, "What is it?")
    paid = [profile([prompt], [rf"\boxed{{{answer}}}"], answer=[gold])[0] == 1.0 for profile in profiles]
    assert paid == [strict, lenient]


def test_there_are_many_rows():
    assert len(list(rows())) >= 50


@pytest.mark.parametrize("name", ["answers_must_become_right", "answers_are_right"])
def test_answers_of_public_bug_reports(profiles, shared_data, name):
    cases = [json.loads(line) for line in (shared_data / "reports" / f"{name}.jsonl").open(encoding="utf-8")]
    prompts, completions = [case.get("prompt", "") for case in cases], [case["completion"] for case in cases]
    strict, lenient = (profile(prompts, completions, answer=[case["answer"] for case in cases]) for profile in profiles)
    assert [case for case, value in zip(cases, strict, strict=True) if value != case["expected"]] == []
    # lenient pays an unreduced fraction and an unevaluated number on purpose
    assert sum(value != case["expected"] for case, value in zip(cases, lenient, strict=True)) <= 3
