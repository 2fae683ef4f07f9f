"""Which of a prompt's completions stay, and what their pass rate says."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from distill.rejection.build import Building
from distill.rejection.candidates import Candidate, agreement, choose, difficulty, pass_rate, row_of
from distill.rejection.records import FILE, Record, Sample, append, part_folder, read
from envs import Task
from grpo.config.sections import ConfigError
from rewards import RewardSet
from tests.distill.scripted import settings


def record(*texts, right=None, number=0, opened=False, **columns):
    right = right or [1.0] * len(texts)
    samples = [
        Sample(text, len(text.split()), "stop", {"accuracy": value, "format": 1.0, "language": 1.0})
        for text, value in zip(texts, right, strict=True)
    ]
    return Record(number, Task(f"t{number}", f"prompt {number}", columns), opened, tuple(samples))


def build(config, records, judge=None):
    building = Building(config, judge)
    passed = list(building.passed(records))
    pairs, rejected = [pair for one in passed for pair in one.rows], [row for one in passed for row in one.rejected]
    rows = [row for _, row in pairs]
    if config.near_duplicates is not None:
        rows, repeats = building.without_near_duplicates(pairs)
        rejected += repeats
    return SimpleNamespace(rows=rows, rejected=rejected, steps=building.funnel.steps)


def candidates(*texts):
    one = record(*texts)
    return [Candidate(one, place, 1.0, 1.0) for place in range(len(texts))]


def chosen(how, keep, *texts):
    config = settings(f"choose={how}", f"keep_per_prompt={keep}")
    return [one.sample.text for one in choose(config, candidates(*texts))]


def test_the_shortest_stays():
    assert chosen("shortest", 1, "a b c", "a b", "a b c d") == ["a b"]


def test_diverse_ones_are_those_least_alike():
    # from "a b" the words of "c d e" differ most (1 - 0/5), those of "a b x" least (1 - 2/3)
    assert chosen("diverse", 2, "a b x", "a b", "c d e") == ["a b", "c d e"]


def test_the_same_text_stays_once():
    assert chosen("all", 1, "a b", "a  b", "c d") == ["a b", "c d"]


def test_pass_rate_leaves_out_what_has_no_verdict():
    assert pass_rate(record(*"abcd", right=[1.0, 0.0, None, 0.0]), "accuracy") == pytest.approx(1 / 3)
    assert pass_rate(record("a", right=[None]), "accuracy") is None


def test_a_right_number_in_a_text_that_was_cut_off_is_no_solution():
    stops = ("stop", "length", "stop", "error")
    samples = [replace(sample, stop_reason=stop) for sample, stop in zip(record(*"abcd").samples, stops, strict=True)]
    cut = replace(record("a"), samples=tuple(samples))
    assert pass_rate(cut, "accuracy") == pytest.approx(2 / 3)  # what was never sampled is not counted


@pytest.mark.parametrize(("rate", "level"), [(1.0, 1), (0.8, 1), (0.6, 2), (0.59, 3), (0.2, 4), (0.1, 5), (None, None)])
def test_difficulty_is_a_fifth_of_the_pass_rate(rate, level):
    assert difficulty(rate) == level


def test_certainty_is_the_share_that_gives_the_same_answer():
    said = [f"<think>{n}</think><answer>{answer}</answer>" for n, answer in enumerate(["5", " 5", "6", ""])]
    assert agreement(record(*said)) == [0.5, 0.5, 0.25, 0.25]


def test_prompts_that_are_always_right_are_dropped_by_option():
    records = [record("a b", "c d"), record("e f", "g h", right=[1.0, 0.0], number=1)]
    built = build(settings("max_pass_rate=0.9"), records)
    assert [row.prompt for row in built.rows] == ["prompt 1"]
    assert [step.name for step in built.steps if step.dropped] == ["accuracy", "pass_rate"]


def test_reasoning_that_the_template_opened_gets_its_tag_back():
    one = Candidate(record("b</think><answer>4</answer>", opened=True, answer=4), 0, 1.0, 1.0)
    row = row_of(settings(), one, None)
    assert (row.completion, row.reasoning, row.answer) == ("<think>b</think><answer>4</answer>", "b", "4")


def test_near_duplicates_of_other_prompts_go():
    text = " ".join(f"w{n}" for n in range(200))
    built = build(settings("near_duplicates=0.8"), [record(text), record(text, number=1)])
    assert [row.id for row in built.rows] == ["t0#0"]


def test_the_judge_hears_what_the_rules_keep_and_the_best_judged_stays():
    heard = []

    def judge(completions, **_):
        heard.extend(completions)
        return [{"good": 0.9, "fair": 0.6, "bad": 0.1, "mute": None}[text] for text in completions]

    config = settings("choose=best_judged", "judge={rubric: helpfulness}")
    records = [record("fair", "good", "bad", "mute", "wrong", right=[1, 1, 1, 1, 0])]
    built = build(config, records, RewardSet({"judge": 1.0}, functions={"judge": judge}))
    assert heard == ["fair", "good", "bad", "mute"]
    [row] = built.rows
    assert (row.completion, row.provenance.verdicts[0].value, row.provenance.verdicts[0].judge) == (
        "good", 0.9, "helpfulness",
    )  # fmt: skip
    why = {row["completion"]: row["reasons"] for row in built.rejected}
    assert why == {
        "wrong": ["accuracy"], "mute": ["judge_gave_no_verdict"], "bad": ["judge"], "fair": ["not_best_judged"],
    }  # fmt: skip


def test_a_judge_that_does_not_answer_stops_the_run_instead_of_emptying_the_corpus():
    def down(completions, **_):
        raise OSError("connection refused")

    judge = RewardSet({"judge": 1.0}, functions={"judge": down})
    with pytest.raises(ConfigError, match=r"the judge gives no verdict: .*connection refused"):
        build(settings("judge={}"), [record("a")], judge)


def test_the_order_in_which_prompts_were_finished_does_not_matter(tmp_path):
    # four near duplicates: which one stays is decided by the prompts' numbers
    words = [f"w{n}" for n in range(100)]
    config = settings("near_duplicates=0.8")
    for order in ((0, 1, 2, 3), (2, 3, 0, 1)):
        folder = part_folder(tmp_path / str(order[0]), "1/1")
        folder.mkdir(parents=True)
        append(folder / FILE, [record(" ".join([*words, f"x{n}"]), number=n) for n in order])
        built = build(config, read(tmp_path / str(order[0])))
        assert [row.id for row in built.rows] == ["t0#0"]
