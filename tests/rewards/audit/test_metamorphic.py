"""The audit by reference answers: rewritings and changes of them against anyone's reward."""

import json
from pathlib import Path

import pytest

from rewards.audit.__main__ import main
from rewards.audit.metamorphic import cases_of_golds, short_answer

GOLDS = [r"\frac{1}{2}", "12", "x+3", r"[0,\infty)", r"2\sqrt{3}", "1,2"]
# A reward of the user's that looks for what is in the last box.
EXACT = """
def reward(completions, answer, **columns):
    boxes = [text.rpartition("boxed{")[2].partition("}\\n</answer>")[0] for text in completions]
    return [float(box == gold) for box, gold in zip(boxes, answer)]
"""
DIGITS = """
def reward(completions, answer, **columns):
    digits = lambda text: "".join(c for c in text if c.isdigit())
    return [float(digits(text) == digits(gold)) for text, gold in zip(completions, answer)]
"""


@pytest.fixture
def golds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "golds.jsonl"
    path.write_text("".join(json.dumps({"question": "?", "answer": gold}) + "\n" for gold in GOLDS))
    return path


def audited(golds, body, *options):
    """Exit code, summary and cases of an audit of a user's reward."""
    name = f"users_{abs(hash((body, options)))}"
    (golds.parent / f"{name}.py").write_text(body)
    output = golds.parent / "report.json"
    code = main(["--reward", f"{name}:reward", "--golds", str(golds), "--output", str(output), *options])
    report = json.loads(output.read_text())
    return code, report["summaries"][0], report["cases"][f"{name}:reward"]


def test_each_gold_is_paid_rewritten_and_not_paid_changed(golds):
    cases = cases_of_golds(golds, "<answer>{answer}</answer>", 100)
    assert [case.completion for case in cases if case.kind == "itself"] == [
        f"<answer>{gold}</answer>" for gold in GOLDS
    ]
    expected = {case.kind: case.expected for case in cases}
    assert expected["itself"] == expected["other_signs"] == expected["other_order"] == 1.0
    assert expected["digit"] == expected["sign"] == expected["root"] == expected["interval_end"] == 0.0
    assert {case.columns["answer"] for case in cases} == set(GOLDS) and {case.prompt for case in cases} == {"?"}
    assert cases == cases_of_golds(golds, "<answer>{answer}</answer>", 100)  # the same in every run


def test_our_own_reward_has_nothing_wrong(golds, capsys):
    assert main(["--reward", "accuracy", "--golds", str(golds)]) == 0
    out = capsys.readouterr().out
    assert "other signs" in out and "not paid" in out and "wrong (" not in out


def test_a_reward_that_compares_texts_refuses_rewritings(golds):
    code, summary, cases = audited(golds, EXACT)
    assert code == 1 and summary["false_accepts"] == 0 and summary["false_rejects"] > 0
    assert {case["kind"] for case in cases if case["verdict"] != "right"} <= {
        *("other_commands", "other_braces", "other_blanks", "plain_text", "other_signs", "other_order"),
    }
    assert audited(golds, EXACT, "--fail-over", "false_accepts=0")[0] == 0


def test_a_reward_that_looks_at_digits_pays_for_changes(golds, capsys):
    code, summary, cases = audited(golds, DIGITS)
    assert code == 1 and summary["false_accepts"] > 0
    paid = {case["kind"] for case in cases if case["verdict"] == "false_accept"}
    assert {"sign", "interval_end"} <= paid and "digit" not in paid
    assert "over the limit" in capsys.readouterr().out


def test_the_answer_of_a_worked_solution_is_its_end():
    assert short_answer("3 + 4 = 7\n#### 7") == "7"
    assert short_answer(r"So it is \boxed{\frac12}.") == r"\frac12"
    assert short_answer(" 7 ") == "7"


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ('{"prompt": "x"}', (), "row 1: no column answer or solution, only prompt"),
        ("", (), "holds no gold"),
        ('{"answer": "3"}', ("--completion", "no place"), "must hold {answer}"),
        ("[3]", (), "a row must be an object"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, rows, options, said):
    path = Path(tmp_path / "golds.jsonl")
    path.write_text(rows)
    assert main(["--reward", "accuracy", "--golds", str(path), *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
