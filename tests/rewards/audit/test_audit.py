"""The audit: what it counts, that nothing a reward does ends it, and what our own rewards get wrong."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from rewards.audit.__main__ import CASES, main
from rewards.audit.findings import read_cases, summarise, verdict_on
from rewards.rows import read_rows
from tests.timing import seconds_of


@pytest.mark.parametrize(
    ("expected", "value", "verdict"),
    [
        (1, 0.5, "right"),
        (1, 0.49, "false_reject"),
        (0, 0.49, "right"),
        (0, 0.5, "false_accept"),
        (1, None, "left_out"),
        (None, None, "right"),
        (None, 0.0, "not_left_out"),
        ([0.2, 0.8], 0.8, "right"),
        ([0.2, 0.8], 0.81, "false_accept"),
        ([0.2, 0.8], 0.19, "false_reject"),
    ],
)
def test_a_value_is_held_against_what_is_expected(expected, value, verdict):
    assert verdict_on(expected, value, 0.5) == verdict


def audited(tmp_path, monkeypatch, body, rows, *options):
    """Exit code and report of an audit of a user's reward."""
    (tmp_path / "audited.py").write_text(f"import os, sys, time\ndef reward(completions, **columns):\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "report.json"
    code = main(
        ["--reward", "audited:reward", "--input", str(path), "--output", str(output), "--timeout", "1", *options]
    )
    return code, json.loads(output.read_text())


def rows_of(*completions):
    return [{"id": text, "completion": text, "expected": 0} for text in completions]


def test_every_way_to_be_wrong_has_its_count(tmp_path, monkeypatch):
    body = "return [{'one': 1.0, 'zero': 0.0, 'none': None}[completions[0]]]"
    rows = [
        {"completion": completion, "expected": expected}
        for completion in ("one", "zero", "none")
        for expected in (0, 1, None)
    ]
    _, report = audited(tmp_path, monkeypatch, body, rows)
    counts = {key: report["summaries"][0][key] for key in ("cases", "right", "false_accepts", "false_rejects")}
    assert counts == {"cases": 9, "right": 3, "false_accepts": 1, "false_rejects": 1}
    assert (report["summaries"][0]["not_left_out"], report["summaries"][0]["left_out"]) == (2, 2)


@pytest.mark.parametrize(
    ("fault", "verdict", "said"),
    [
        ("raise KeyError('k')", "crash", "KeyError"),
        ("os._exit(3)", "crash", "ended with code 3"),
        ("os.kill(os.getpid(), 11)", "crash", "ended with code -11"),
        ("time.sleep(60)", "timeout", "no value after 1 s"),
        ("return 1.0", "crash", "returned float, not a list"),
        ("return ['x']", "crash", "not a number"),
        ("return [float('nan')]", "crash", "not a finite number"),
        ("print('noise'); return [0.0]", "right", None),
    ],
)
def test_whatever_a_reward_does_the_other_cases_are_judged(tmp_path, monkeypatch, fault, verdict, said):
    body = f"if completions[0] == 'bad':\n        {fault}\n    return [0.0]"
    _, report = audited(tmp_path, monkeypatch, body, rows_of("a", "bad", "b"))
    findings = report["cases"]["audited:reward"]
    assert [finding["verdict"] for finding in findings] == ["right", verdict, "right"]
    assert said is None or said in findings[1]["error"]


def test_columns_reach_the_reward_and_labels_do_not(tmp_path, monkeypatch):
    given = ["answer", "completion_ids", "log_extra", "log_metric", "prompts", "trainer_state"]
    body = f"return [float(sorted(columns) == {given})]"
    row = {"completion": "x", "answer": "3", "id": "1", "kind": "hack", "why": "w", "expected": 1}
    assert audited(tmp_path, monkeypatch, body, [row])[1]["summaries"][0]["right"] == 1


def test_a_reward_may_log_and_divide_by_the_runs_steps_as_the_docs_show(tmp_path, monkeypatch):
    state = "columns['trainer_state']"
    body = f"columns['log_metric']('a', 1)\n    return [1.0 - {state}.global_step / {state}.max_steps]"
    row = {"completion": "x", "answer": "3", "id": "1", "kind": "hack", "why": "w", "expected": 1}
    assert audited(tmp_path, monkeypatch, body, [row])[1]["summaries"][0]["right"] == 1


def test_the_first_call_is_no_cases_time(tmp_path, monkeypatch):
    body = "time.sleep(0 if hasattr(sys, 'warm') else 0.5); sys.warm = True; return [0.0]"
    assert audited(tmp_path, monkeypatch, body, rows_of("a", "b"))[1]["summaries"][0]["max_ms"] < 250


def test_percentiles_are_of_the_cases():
    class Timed:
        def __init__(self, milliseconds):
            self.verdict, self.seconds = "right", milliseconds / 1000

    summary = summarise("r", "l", [Timed(n) for n in range(1, 101)])  # 1 to 100 ms
    assert (summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.max_ms) == (51.0, 96.0, 100.0, 100.0)


def test_a_limit_that_is_exceeded_is_exit_code_1(tmp_path, monkeypatch, capsys):
    always = "return [1.0]"
    assert audited(tmp_path, monkeypatch, always, rows_of("a", "b"))[0] == 0
    assert audited(tmp_path, monkeypatch, always, rows_of("a", "b"), "--fail-over", "false_accepts=2")[0] == 0
    code, _ = audited(tmp_path, monkeypatch, always, rows_of("a", "b"), "--fail-over", "false_accepts=1", "crashes=0")
    assert code == 1
    assert "over the limit: audited:reward: false_accepts 2 > 1" in capsys.readouterr().out


def test_the_label_is_the_rewards_own_or_named(tmp_path, monkeypatch):
    rows = [{"completion": "x", "expected": {"accuracy": 1, "other": 0}}]
    assert audited(tmp_path, monkeypatch, "return [1.0]", rows)[1]["summaries"][0]["false_accepts"] == 0
    _, report = audited(tmp_path, monkeypatch, "return [1.0]", rows, "--label", "other")
    assert report["summaries"][0]["false_accepts"] == 1


@pytest.mark.parametrize(
    ("arguments", "rows", "said"),
    [
        (["--reward", "formatt"], None, "did you mean format"),
        (["--reward", "format", "--input", "none.jsonl"], None, "none.jsonl can't be read"),
        (["--reward", "format"], [{"completion": "x"}], "row 1: no 'expected'"),
        (["--reward", "format"], [{"completion": "x", "expected": "yes"}], "expected must be a number"),
        (["--reward", "format"], [{"completion": "x", "expected": [1, 0]}], "expected must be a number"),
        (["--reward", "format", "--label", "tone"], [{"completion": "x", "expected": {"a": 1}}], "no case with the"),
        (["--reward", "format", "--fail-over", "errors=1"], None, "errors must be one of false_accepts"),
        (["--reward", "format", "--fail-over", "crashes"], None, "must look like crashes=2"),
        (["--reward", "format", "--option", "x.y=1"], None, "x is not among --reward"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, rows, said):
    if rows is not None:
        path = tmp_path / "cases.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = [*arguments, "--input", str(path)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_help_is_fast():
    assert seconds_of(sys.executable, "-m", "rewards.audit", "--help") < 1.0


# The cases that come with the package


def test_there_are_enough_cases_of_every_kind():
    rows = list(read_rows(CASES))
    kinds = Counter(row["kind"] for row in rows)
    assert len(rows) >= 300 and kinds["hack"] >= 150 and kinds["honest"] >= 70 and kinds["hostile"] >= 25
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["why"] and row["expected"] for row in rows)
    for label, least in (("accuracy", 250), ("format", 200), ("format_similarity", 200), ("language", 30)):
        assert len(read_cases(CASES, label)) >= least


def test_a_reward_that_always_pays_and_one_that_never_does_are_found_out(tmp_path, monkeypatch):
    reports = {}
    for value in (0.0, 1.0):
        (tmp_path / "constant.py").write_text(f"def reward(completions, **_):\n    return [{value}]\n")
        monkeypatch.chdir(tmp_path)
        main(["--reward", "constant:reward", "--output", "report.json"])
        reports[value] = json.loads(Path("report.json").read_text())["summaries"][0]
    assert reports[0.0]["false_accepts"] == 0 and reports[0.0]["false_rejects"] > 70
    assert reports[1.0]["false_rejects"] == 0 and reports[1.0]["false_accepts"] > 150


JUDGES = ["accuracy", "format", "format_similarity", "language"]


@pytest.mark.parametrize("reward", JUDGES)
def test_our_rewards_hold_against_the_cases(reward, capsys):
    limits = [
        f"{fault}=0" for fault in ("false_accepts", "false_rejects", "not_left_out", "left_out", "crashes", "timeouts")
    ]
    assert main(["--reward", reward, "--timeout", "60", "--fail-over", *limits]) == 0, capsys.readouterr().out
