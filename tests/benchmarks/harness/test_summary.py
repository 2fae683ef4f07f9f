"""Figures from items, by hand."""

from dataclasses import replace

import pytest

from benchmarks.harness.items import Item, ItemFile
from benchmarks.harness.scoring import items_of, vote_classes
from benchmarks.harness.spec import Benchmark, Published
from benchmarks.harness.summary import summarise
from benchmarks.harness.table import table
from envs import Task
from grpo.scoring import Scorer
from grpo.types import Group, Prompt, Rollout
from rewards import RewardSet

BENCHMARK = Benchmark("tried", None, rewards=("accuracy", "format"), groups=("level",))
PLAIN = Item("f:1", 0, 0, {"level": "1"}, "p", "c", "7", "7", 0, {"accuracy": 1.0, "format": 0.0}, 10, None, "stop")


def items(*rows):
    """(accuracy, vote) of each sample, one list a problem; odd problems are of level 2."""
    return [
        replace(
            PLAIN,
            id=f"f:{problem}",
            problem=problem,
            sample=sample,
            labels={"level": str(1 + problem % 2)},
            vote=vote,
            scores={"accuracy": accuracy, "format": 0.5},
            stop_reason="stop" if accuracy else "length",
        )
        for problem, samples in enumerate(rows)
        for sample, (accuracy, vote) in enumerate(samples)
    ]


def figures(*rows):
    return summarise(items(*rows), BENCHMARK)["figures"]


def test_pass_and_cons_by_hand():
    found = figures([(1.0, 0), (1.0, 0), (0.0, 1)], [(0.0, 1), (0.0, 1), (1.0, 0)])
    assert found["pass@1"] == pytest.approx(0.5)  # (2/3 + 1/3) / 2
    assert found["pass@2"] == pytest.approx(5 / 6)  # (1 + 1 - C(2,2)/C(3,2)) / 2
    assert found["pass@3"] == 1.0
    assert found["cons@3"] == pytest.approx(0.5)  # the first problem's vote is right, the second's is not
    assert found["truncated"] == 0.5 and found["format"] == 0.5 and found["unscored"] == 0
    assert found["interval"] == "95%, bootstrap over problems"


def test_one_sample_has_wilsons_interval():
    found = figures([(1.0, 0)], [(0.0, 1)], [(0.0, 1)], [(1.0, 0)])
    assert found["interval"] == "95%, Wilson"
    assert (found["pass@1_low"], found["pass@1_high"]) == pytest.approx((0.15, 0.85), abs=0.001)
    assert not any(name.startswith("cons") for name in found)


def test_partial_scores_are_not_right_but_have_a_mean():
    found = figures([(0.5, None), (1.0, 0)], [(0.25, None), (0.25, None)])
    assert found["pass@1"] == 0.25 and found["mean_score"] == 0.5
    assert "mean_score" not in figures([(1.0, 0)])


def test_nothing_right_is_no_certainty():
    found = figures(*[[(0.0, 1), (0.0, 1)]] * 10)
    assert found["interval"] == "95%, Wilson over problems"
    assert (found["pass@1_low"], found["pass@1_high"]) == pytest.approx((0.0, 0.278), abs=0.001)  # 3.84 / 13.84


def test_what_has_no_score_is_left_out_and_counted():
    found = figures([(1.0, 0), (None, None)], [(None, None), (None, None)])
    assert found["pass@1"] == 1.0 and found["unscored"] == 3 and found["problems"] == 2
    assert figures([(None, None)])["pass@1"] is None


def test_groups_have_figures_of_their_own():
    groups = summarise(items([(1.0, 0)], [(0.0, 1)], [(1.0, 0)]), BENCHMARK)["groups"]["level"]
    assert groups["1"]["pass@1"] == 1.0 and groups["1"]["problems"] == 2 and groups["2"]["pass@1"] == 0.0


def test_published_figures_are_marked_and_apart():
    results = {
        "benchmark": "tried",
        "settings": {"model": "m", "temperature": 0.6, "top_p": 0.95, "max_tokens": 9, "template": "r1", "seed": 0},
        **summarise(items([(1.0, 0), (0.0, 1)], [(1.0, 0), (1.0, 0)]), BENCHMARK),
        "speed": {},
        "data": {"standard": True, "problems": 2},
        "published": [vars(Published("theirs", {"pass@1": 0.798}, "a paper"))],
    }
    text = table(results)
    assert "| theirs | 0.798 | published: a paper |" in text and "| **this run** | 0.750 | measured here |" in text
    assert "| pass@1 | **0.750**" in text and "| level | problems |" in text


def test_what_a_table_must_not_hide_is_in_it():
    results = {
        "benchmark": "tried",
        "settings": {"model": "m", "temperature": 0.6, "top_p": 0.95, "max_tokens": 9, "template": "r1", "seed": 0},
        **summarise(items([(1.0, 0), (0.0, 1)], [(1.0, 0), (1.0, 0)]), BENCHMARK),
        "speed": {},
        "data": {"standard": False, "problems": 2},
        "published": [],
    }
    results["settings"] |= {"waits": 2, "max_thinking": 5}
    results["figures"]["truncated"] = 0.25
    text = table(results)
    assert text.startswith("## tried: m (budget forcing: max thinking 5, waits 2) (custom data)\n")
    assert "cut at max_tokens** | **25%" in text
    results["data"] = {"standard": True, "problems": 30}
    assert "(2 of 30 problems)" in table(results)


def test_a_cut_completion_has_an_answer_only_if_it_is_marked():
    def of(text, stop):
        rollout = Rollout((1, 2), (0.0, 0.0), (0.0, 0.0), text, stop)
        group = Group(Prompt(Task("1", "?", {"answer": "42"}), (1,), "?"), (rollout,))
        scorer = Scorer(RewardSet({"accuracy": 1.0}), 10)
        try:
            return items_of(group, 0, BENCHMARK, scorer, str)[0]
        finally:
            scorer.close()

    assert of("so far we have 42", "stop").scores["accuracy"] == 1.0
    cut = of("so far we have 42", "length")
    assert (cut.scores["accuracy"], cut.answer, cut.vote) == (0.0, None, None)
    assert of("\\boxed{42} and", "length").scores["accuracy"] == 1.0


def test_equal_answers_vote_together_and_right_ones_first():
    answers = ["1/2", "0.5", "7", "7.0", None, "3/4", "\\frac{3}{4}"]
    assert vote_classes(answers, [True, True, *[False] * 5]) == [0, 0, 1, 1, None, 2, 2]
    assert vote_classes([None, None], [False, False]) == [None, None]


def test_an_unreadable_answer_votes_for_itself():
    assert vote_classes(["}{", "}{", "8"], [False] * 3) == [1, 1, 2]


def test_items_are_read_back_as_written(tmp_path):
    file = ItemFile(tmp_path)
    written = items([(1.0, 0), (None, None)])
    file.append(written)
    assert list(file.read().values()) == written


def test_a_torn_line_is_skipped_and_the_next_stands_alone(tmp_path):
    file = ItemFile(tmp_path)
    first, second = items([(1.0, 0)], [(0.0, 1)])
    file.append([first])
    with file.path.open("ab") as handle:
        handle.write(b'{"id": "f:9", "prob')
    file.append([second])
    assert list(file.read().values()) == [first, second]


def test_the_first_of_two_lines_for_a_sample_counts(tmp_path):
    file = ItemFile(tmp_path)
    file.append([PLAIN])
    file.append([replace(PLAIN, completion="another")])
    assert file.read()[0, 0].completion == "c"
