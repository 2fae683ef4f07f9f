"""Benchmarks of a model that is being trained."""

import json

import pytest

from benchmarks.harness.training import open_benchmarks
from grpo.config import Config
from grpo.config.layers import build
from grpo.config.sections import ConfigError
from grpo.evaluate.benchmarks import benchmarks_of
from grpo.model.frozen import load_teacher


def config(bench, *entries, **more):
    given = {"model": str(bench.model), "eval_every": 1, "max_completion_length": 12, "max_rows": 16}
    return build(Config, {**given, **more, "eval_benchmarks": list(entries)})


def test_figures_and_items_are_those_of_the_command(bench, tmp_path):
    entry = {"name": "word_problems", "data": str(bench.data), "samples": 3, "temperature": 0.6, "top_p": 0.95}
    found = benchmarks_of(config(bench, {**entry, "max_tokens": 16, "max_rows": 6}))
    said = []
    figures = found.measure(load_teacher(str(bench.model)), tmp_path / "in", lambda: None, said.append)
    bench.run()
    by_command = bench.results()["figures"]
    for name in ("pass@1", "pass@1_low", "pass@1_high", "truncated", "tokens"):
        assert figures[f"word_problems/{name}"] == pytest.approx(by_command[name])
    lines = (tmp_path / "in" / "word_problems" / "items.jsonl").read_text().splitlines()
    mine = sorted((json.loads(line) for line in lines), key=lambda item: (item["problem"], item["sample"]))
    assert mine == bench.items()
    assert said == [f"  word_problems: pass@1 {figures['word_problems/pass@1']:.3f} "
                    f"({figures['word_problems/pass@1_low']:.3f} to {figures['word_problems/pass@1_high']:.3f}), "
                    "7 problems x 3"]  # fmt: skip


def test_the_run_says_how_its_tasks_are_asked_and_an_entry_may_differ(bench):
    found = open_benchmarks(
        config(
            bench,
            {"name": "word_problems", "data": str(bench.data), "limit": 2},
            {"name": "gsm8k", "data": str(bench.data), "template": "plain", "max_tokens": 5},
            system_prompt="be brief",
            eval_temperature=0.3,
        )
    )
    first, second = (one.settings for one in found.measures)
    assert (first.limit, first.system_prompt, first.temperature, first.max_tokens) == (2, "be brief", 0.3, 12)
    assert (second.template, second.system_prompt, second.max_tokens) == ("plain", None, 5)
    assert any("custom data" in note for note in found.notes)


def test_what_was_measured_is_not_measured_again(bench, tmp_path):
    found = open_benchmarks(config(bench, {"name": "word_problems", "data": str(bench.data), "limit": 2}))
    policy = load_teacher(str(bench.model))
    first = found.measure(policy, tmp_path / "in", lambda: None, str)

    def stop():
        raise AssertionError("decoded again")

    assert found.measure(policy, tmp_path / "in", stop, str) == first


def test_an_entry_chooses_among_several_of_a_kind(bench):
    entries = [{"name": "aime", "year": year, "data": str(bench.data), "limit": 2} for year in (2024, 2025)] + [
        {"name": "reasoning_gym", "task": "leg_counting", "size": 3}
    ]
    found = open_benchmarks(config(bench, *entries))
    assert [one.name for one in found.measures] == ["aime_2024", "aime_2025", "reasoning_gym_leg_counting"]
    assert [len(one.problems.tasks) for one in found.measures] == [2, 2, 3]


def test_languages_are_chosen_by_an_entry(bench, tmp_path):
    rows = [{"lang": code, "question": f"{n} + 1?", "answer": str(n + 1)} for code in ("de", "ja") for n in range(4)]
    data = tmp_path / "mgsm.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (one,) = open_benchmarks(config(bench, {"name": "mgsm", "languages": ["ja"], "data": str(data)})).measures
    assert [task.columns["language"] for task in one.problems.tasks] == ["ja"] * 4


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("gsm9k", "there is no 'gsm9k'; there are "),
        ("engine", "there is no 'engine'"),
        ("math500:many", "must read NAME or NAME:PROBLEMS"),
        ("math500:0", "must read NAME or NAME:PROBLEMS"),
        ({"limit": 3}, "an object needs a name"),
        ({"name": "gsm8k", "model": "x"}, "the run's own model is measured"),
        ({"name": "gsm8k", "limt": 3}, "did you mean limit"),
        ({"name": "gsm8k", "data": "none.jsonl"}, "none.jsonl"),
        ({"name": "aime", "year": 2023}, "year must be one of 2024, 2025, got 2023"),
        ({"name": "aime", "year": "late"}, "eval_benchmarks aime: year: "),
        ({"name": "mgsm", "languages": ["xx"]}, "languages must be among bn, de, "),
        ("reasoning_gym", "needs its task: {name: reasoning_gym, task: ...}"),
    ],
)
def test_what_can_not_be_is_one_line(bench, entry, said):
    with pytest.raises(ValueError) as refused:
        open_benchmarks(config(bench, entry))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_benchmark_stands_once_and_needs_a_rhythm(bench):
    entry = {"name": "word_problems", "data": str(bench.data)}
    with pytest.raises(ConfigError, match="names word_problems twice"):
        open_benchmarks(config(bench, entry, entry))
    with pytest.raises(ConfigError, match="eval_benchmarks need eval_every"):
        config(bench, entry, eval_every=0)
    assert benchmarks_of(config(bench)) is None
