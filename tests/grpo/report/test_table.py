"""The index of completions: what it finds, in which order, and that it follows the files."""

import json
import os

import numpy as np
import pytest

from grpo.report.features import one_script, rechecks
from grpo.report.index import Index
from grpo.report.rollouts import CLIPPED, chosen, shortened, shown, spread
from grpo.report.spreads import spreads
from grpo.report.stages import read
from grpo.report.table import Query, QueryError
from grpo.report.tasks import pass_rates
from tests.grpo.report.made import large_run, metrics_line, row, write_rows


@pytest.fixture
def made(tmp_path):
    """Makes a run of files: name -> rows; returns the index of it."""

    def make(files, config="num_generations: 2\n"):
        (tmp_path / "metrics.jsonl").write_text(metrics_line(1))
        (tmp_path / "config.yaml").write_text(config)
        for name, rows in files.items():
            write_rows(tmp_path / name, rows)
        index = Index(read([tmp_path]).runs)
        index.refresh()
        return index

    return make


TWO_STEPS = {
    "completions/step_000001.jsonl": [row("wait, no", 0.0, -0.7, "a"), row("yes", 1.0, 0.7, "a", tokens=9)],
    "completions/step_000002.jsonl": [row("No way", 0.5, 0.0, "b", stop_reason="length"), row("x", None, None, "b")],
    "evaluations/step_000000.jsonl": [row("held", 1.0, None, "c")],
    "evaluations/step_000000_greedy.jsonl": [row("likeliest", 1.0, None, "c")],
    "probes/step_000000.jsonl": [row("probe", 1.0, None, "d")],
}


def said(index, **query):
    """The completions a query finds, in its order."""
    rows = index.table.select(Query(**query))
    return [shown(index.table, int(one))["text"] for one in rows]


def test_every_saved_row_is_found_the_newest_step_and_the_best_of_a_group_first(made):
    index = made(TWO_STEPS)
    assert said(index, kind="training") == ["No way", "x", "yes", "wait, no"]
    assert said(index, kind="training", sort="oldest") == ["yes", "wait, no", "No way", "x"]
    assert len(index.table) == 7 and index.table.group_count == 5


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"words": "NO"}, ["No way", "wait, no"]),
        ({"words": '"wait, no"'}, ["wait, no"]),
        ({"words": "no wait"}, ["wait, no"]),
        ({"task": "is A?"}, ["yes", "wait, no"]),
        ({"first_step": 2}, ["No way", "x"]),
        ({"last_step": 1, "kind": "training"}, ["yes", "wait, no"]),
        ({"stop": "length"}, ["No way"]),
        ({"low": 0.5, "kind": "training"}, ["No way", "yes"]),
        ({"part": "accuracy", "high": 0.4}, ["wait, no"]),
        ({"kind": "held out"}, ["held"]),
        ({"kind": "held out, greedy"}, ["likeliest"]),
        ({"kind": "probe"}, ["probe"]),
        ({"run": 1}, []),
    ],
)
def test_filters(made, query, found):
    assert said(made(TWO_STEPS), **query) == found


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("best", ["yes", "No way", "wait, no", "x"]),  # without a reward: last either way
        ("worst", ["wait, no", "No way", "yes", "x"]),
        ("longest", ["yes", "No way", "x", "wait, no"]),
    ],
)
def test_sorts(made, sort, found):
    assert said(made(TWO_STEPS), kind="training", sort=sort) == found


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"page": "-1"}, "page must be a whole number of at least 0, got '-1'"),
        ({"low": "much"}, "low must be a number, got 'much'"),
        ({"low": "nan"}, "low must be a number, got 'nan'"),
        ({"sort": "up"}, "sort must be one of newest"),
        ({"colour": "red"}, "there is no filter 'colour'"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(given, reason):
    with pytest.raises(QueryError, match=reason):
        Query.parse(given)


def test_a_query_reads_its_keys():
    assert Query.parse({"run": "1", "low": "-0.5", "words": "a", "stop": ""}) == Query(run=1, low=-0.5, words="a")


def test_no_such_reward_or_kind_is_refused(made):
    index = made(TWO_STEPS)
    for query in (Query(part="beauty", low=0.0), Query(kind="best")):
        with pytest.raises(QueryError, match=r"there is no reward|kind must be"):
            index.table.select(query)


def test_groups_end_at_another_prompt_and_at_num_generations(made):
    rows = [row(str(i), 1.0, task=task) for task in ("a", "a", "b") for i in range(2)]
    table = made({"completions/step_000001.jsonl": rows}).table
    assert table.group.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_name_finds_its_row_again(made):
    table = made(TWO_STEPS).table
    assert [table.find(table.name_of(row)) for row in range(len(table))] == list(range(len(table)))
    for name in (
        "",
        "0",
        "0/completions/step_000001.jsonl/9",
        "0/../config.yaml/0",
        "7/completions/step_000001.jsonl/0",
    ):
        assert table.find(name) is None


def test_new_changed_and_removed_files_are_followed(made, tmp_path):
    index = made(TWO_STEPS)
    assert not index.refresh()
    write_rows(tmp_path / "completions/step_000003.jsonl", [row("new", 1.0)])
    write_rows(tmp_path / "completions/step_000001.jsonl", [row("another", 1.0)])
    os.unlink(tmp_path / "completions/step_000002.jsonl")
    assert index.refresh()
    assert said(index, kind="training") == ["new", "another"]


def test_a_row_whose_file_is_gone_is_left_out(made, tmp_path):
    table = made(TWO_STEPS).table
    os.unlink(tmp_path / "completions/step_000001.jsonl")
    assert shown(table, 0) is None


def test_broken_lines_are_counted_and_a_torn_last_one_is_not(made, tmp_path):
    path = tmp_path / "completions" / "step_000001.jsonl"
    path.parent.mkdir()
    path.write_text("nonsense\n" + json.dumps(row("a\u2028b", 1.0)) + '\n{"torn')
    index = made({})
    assert said(index) == ["a\u2028b"] and [part.bad for part in index.table.parts] == [1]


def test_a_run_without_completions_has_an_empty_table(made):
    table = made({}).table
    assert len(table) == 0 and table.select(Query()).tolist() == [] and table.reward_names == []
    assert chosen(table, len) == [] and spreads(table, 0) is None and pass_rates(table, 0) == []


def test_what_the_model_said_in_a_conversation_is_searched_and_shown(made):
    messages = [
        {"role": "user", "content": "Play."},
        {"role": "assistant", "content": "three", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
        {"role": "tool", "name": "add", "content": "larger"},
        {"role": "assistant", "content": "seven"},
    ]
    one = row("three\nseven", 1.0, [0.5, None, 1.5], messages=messages, turns=[{}, {}])
    index = made({"completions/step_000001.jsonl": [one]})
    assert said(index, words="larger") == [] and len(said(index, words="seven")) == 1
    found = shown(index.table, 0)
    assert [message["role"] for message in found["messages"]] == ["assistant", "tool", "assistant"]
    assert found["messages"][0]["calls"] == [{"name": "add", "arguments": "{'a': 1}"}]
    assert found["advantage"] == 1.0  # (0.5 + 1.5) / 2


def test_a_long_text_loses_its_middle(made):
    assert shortened("a" * 10 + "b" * 5, 10) == "aaaaa\n[... 5 characters left out here ...]\nbbbbb"
    index = made({"completions/step_000001.jsonl": [row("x" * 1_000_000, 1.0)]})
    assert len(shown(index.table, 0)["text"]) < CLIPPED + 100


def test_figures_of_tokens_come_when_asked_for(made):
    more = {"logprobs": [-1.0, float("nan")], "entropies": [0.5, 1.0], "token_texts": ["a", " b"]}
    table = made({"completions/step_000001.jsonl": [row("a b", 1.0, 0.5, **more)]}).table
    assert "per_token" not in shown(table, 0)
    per_token = shown(table, 0, tokens=True)["per_token"]
    assert per_token == {
        "logprobs": [-1.0, None], "entropies": [0.5, 1.0], "token_texts": ["a", " b"], "advantages": 0.5, "left_out": 0
    }  # fmt: skip


# The choice for a page that stands alone


def test_both_ends_come_first():
    assert spread(0) == [] and spread(1) == [0] and spread(2) == [0, 1]
    assert spread(5) == [0, 4, 2, 1, 3] and sorted(spread(100)) == list(range(100))


def test_a_choice_keeps_whole_groups_and_its_budget(tmp_path):
    index = Index(read([large_run(tmp_path / "run", steps=20, samples=4)]).runs)
    index.refresh()
    size = lambda rows: len(json.dumps(list(rows)))  # noqa: E731
    everything = size(chosen(index.table, size, 10**9))
    rows = chosen(index.table, size, everything // 2)
    assert size(rows) <= everything // 2 and 16 <= len(rows) < 80 and len(rows) % 4 == 0
    assert {1, 20} <= {one["step"] for one in rows}


def test_one_huge_group_is_kept_with_short_texts(made):
    table = made({"completions/step_000001.jsonl": [row("x" * 50_000, 1.0), row("y" * 50_000, 0.0)]}).table
    rows = chosen(table, lambda rows: len(json.dumps(list(rows))), 4_000)
    assert len(rows) == 2 and len(json.dumps(rows)) < 4_000


# Figures of texts


@pytest.mark.parametrize("text", ["Wait, that is wrong", "let me double check", "Let's verify this", "Hmm.", "等等"])
def test_rechecking_is_seen(text):
    assert rechecks(text)


@pytest.mark.parametrize("text", ["the answer is 3", "the waiter left", "a checkmark", ""])
def test_other_words_are_no_rechecks(text):
    assert not rechecks(text)


def test_scripts_are_counted_by_words():
    assert one_script("two plus two") == 1.0 and one_script("12 + 3") is None
    assert one_script("nine plus 九") == pytest.approx(2 / 3)  # two Latin words, one of Han


# Tasks and rewards


def test_rates_by_task_and_step(made):
    files = {
        f"completions/step_{step:06d}.jsonl": [row("a", float(step > 1), task="a"), row("b", 0.0, task="a")]
        for step in (1, 2)
    }
    (rates,) = pass_rates(made(files).table, 0)
    assert rates.measure == "accuracy" and rates.columns == ["1", "2"]
    assert [(one.task, one.rates) for one in rates.rows] == [("a", [0.0, 0.5])]


def test_parts_that_disagree_are_seen(made):
    rows = [row("x", float(i % 2), rewards={"up": float(i % 2), "down": 1.0 - i % 2, "same": 1.0}) for i in range(6)]
    found = spreads(made({"completions/step_000001.jsonl": rows}).table, 0)
    up = found.names.index("up")
    assert found.correlations[up][found.names.index("down")] == pytest.approx(-1.0)
    assert found.correlations[up][found.names.index("same")] is None
    histogram = next(one for one in found.histograms if one.name == "up")
    assert histogram.early[0] == histogram.early[-1] == 0.5 and np.isclose(sum(histogram.late), 1.0)
