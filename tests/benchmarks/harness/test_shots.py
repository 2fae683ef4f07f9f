"""Worked examples before the problems."""

import json

import pytest


@pytest.fixture
def examples(tmp_path):
    rows = [
        {"question": "What is 1 + 1?", "answer": "2"},  # is asked itself: no example
        {"question": "What is 50 + 50?", "answer": "Half a hundred twice.\n#### 100"},
        {"question": "What is 60 + 60?", "answer": "120", "solution": "Sixty twice: \\boxed{120}"},
        {"question": "What is 70 + 70?", "answer": "140"},
    ]
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_examples_are_turns_before_the_problem(bench, examples):
    code, out, err = bench.run("--shots", "3", "--shots-data", examples)
    assert code == 0, err
    prompt = bench.items()[3]["prompt"]  # the second problem's first sample
    assert prompt == (
        "<user>What is 50 + 50?</user><user>Half a hundred twice.\n\\boxed{100}</user>"
        "<user>What is 60 + 60?</user><user>Sixty twice: \\boxed{120}</user>"
        "<user>What is 70 + 70?</user><user>\\boxed{140}</user><user>What is 1 + 1?</user><model>"
    )
    assert "(3-shot)" in out and bench.results()["settings"]["shots"] == 3


def test_in_a_plain_prompt_they_are_text(bench, examples):
    bench.run("--shots", "1", "--shots-data", examples, "--template", "plain")
    assert bench.items()[0]["prompt"] == ("What is 50 + 50?\n\nHalf a hundred twice.\n\\boxed{100}\n\nWhat is 0 + 0?")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--shots", "2"), "has no worked examples of its own: name a file of some with --shots-data"),
        (("--shots", "9", "--shots-data", "FILE"), "3 rows can be worked examples, --shots asks for 9"),
        (("--shots-data", "FILE"), "shots_data needs shots"),
        (("--shots", "1", "--shots-data", "FILE", "--template", "r1_zero"), "R1-Zero's prompt holds one question"),
    ],
)
def test_what_can_not_be_is_one_line(bench, examples, more, said):
    code, _, err = bench.run(*(examples if word == "FILE" else word for word in more))
    assert code == 2 and said in err and err.count("\n") == 1
