"""Runs side by side, and accuracy over thinking budgets."""

import json

import pytest

from benchmarks import compare, sweep
from benchmarks.harness.metrics import paired_comparison


@pytest.fixture
def two(bench):
    bench.run(name="first")
    bench.run("--seed", "1", name="second")
    return [str(bench.root / name) for name in ("first", "second")]


def test_a_comparison_has_table_json_and_picture(bench, two, capsys):
    assert compare.main([*two, "--output", str(bench.root / "out")]) == 0
    text = capsys.readouterr().out
    assert (
        "| first |" in text
        and "against first" in text
        and "| second | +" in text.replace("| second | -", "| second | +")
    )
    record = json.loads((bench.root / "out" / "comparison.json").read_text())
    means = [bench.results(name)["figures"]["pass@1"] for name in ("first", "second")]
    assert record["pairs"]["second"]["difference"] == pytest.approx(means[1] - means[0])
    assert record["pairs"]["second"]["problems"] == 7
    assert (bench.root / "out" / "comparison.png").read_bytes()[:4] == b"\x89PNG"


def test_the_p_value_is_of_the_problems_means(bench, two):
    first, second = (compare.read_run(bench.root / name) for name in ("first", "second"))
    means = {}
    for name in ("first", "second"):
        for item in bench.items(name):
            means.setdefault((item["id"], name), []).append(item["scores"]["accuracy"])
    rows = [[sum(v) / 3 for (_, run), v in means.items() if run == name] for name in ("first", "second")]
    assert compare.paired(first, second) == paired_comparison(*rows)


def test_only_common_problems_are_paired(bench):
    bench.run(name="all")
    bench.run("--limit", "3", name="some")
    pair = compare.paired(compare.read_run(bench.root / "all"), compare.read_run(bench.root / "some"))
    assert pair.problems == 3 and pair.difference == 0.0 and pair.p_value == 1.0


def test_different_settings_are_said(bench):
    bench.run(name="hot")
    bench.run("--temperature", "1.5", name="hotter")
    runs = [compare.read_run(bench.root / name) for name in ("hot", "hotter")]
    assert "- temperature: hot 0.6, hotter 1.5" in compare.table(compare.record_of(runs, [compare.paired(*runs)]))


def test_a_directory_without_results_is_one_line(bench, capsys):
    assert compare.main([str(bench.root)]) == 2
    assert "holds no results.json" in capsys.readouterr().err


def test_a_sweep_draws_accuracy_over_thinking_tokens(bench, capsys):
    output = bench.root / "sweep"
    rest = bench.arguments("--limit", "3", "--max-tokens", "24")
    rest = rest[: rest.index("--output")] + rest[rest.index("--output") + 2 :]
    code = sweep.main(["--benchmark", "word_problems", "--budgets", "2", "6", "--output", str(output), "--", *rest])
    assert code == 0
    record = json.loads((output / "sweep.json").read_text())
    assert {budget: found["thinking_tokens"] for budget, found in record["runs"].items()} == {"2": 2.0, "6": 6.0}
    assert "| 6 | 6.0 |" in (output / "sweep.md").read_text()
    assert (output / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_a_sweep_that_can_not_run_says_why_and_ends(bench, capsys):
    code = sweep.main(
        ["--benchmark", "gsm8k", "--budgets", "2", "--output", str(bench.root / "s"), "--", "--model", "./nowhere"]
    )
    assert code == 2
