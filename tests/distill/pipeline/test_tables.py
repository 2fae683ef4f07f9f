"""Figures, intervals and rules of the pipeline by hand."""

import pytest

from distill.pipeline.config import PipelineConfig
from distill.pipeline.evaluation import Figure, Measured, difference, normal
from distill.pipeline.picture import draw
from distill.pipeline.rewards import harmless, helpful, reasoned
from distill.pipeline.stages import steps_for
from distill.pipeline.tables import met, steps_table
from grpo.config.layers import build


def test_a_length_has_a_normal_interval_over_problems():
    # mean 4; ddof 1: (4 + 0 + 4) / 2 = 4, std 2; 1.96 * 2 / sqrt(3) = 2.2632
    figure = normal([2.0, 4.0, 6.0])
    assert (figure.mean, figure.low, figure.high) == pytest.approx((4.0, 1.7368, 6.2632), abs=1e-4)


def test_right_or_wrong_has_wilsons_interval():
    # n 4, p 3/4, z 1.96: centre (0.75 + 0.4802) / 1.9604 = 0.62753; half 1.96 / 1.9604 * sqrt(0.046875 + 0.060025)
    # = 0.32689
    figure = Measured("", {"accuracy": [1.0, 1.0, 0.0, 1.0]}).figure("accuracy")
    assert (figure.low, figure.high) == pytest.approx((0.30064, 0.95442), abs=1e-4)


def test_the_difference_is_of_pairs():
    one = Measured("", {"accuracy": [1.0, 1.0, 1.0, 0.0]})
    other = Measured("", {"accuracy": [1.0, 0.0, 0.0, 0.0]})
    # 0, 1, 1, 0: mean 1/2, ddof 1: 4 * 0.25 / 3 = 1/3; 1.96 * sqrt(1/3) / 2 = 0.5658
    figure = difference(one, other, "accuracy")
    assert (figure.mean, figure.low, figure.high) == pytest.approx((0.5, -0.0658, 1.0658), abs=1e-4)


def test_a_problem_without_a_value_on_one_side_is_left_out():
    one = Measured("", {"language": [1.0, None, 0.5]})
    other = Measured("", {"language": [0.0, 1.0, 0.5]})
    assert difference(one, other, "language").mean == 0.5  # (1 + 0) / 2
    assert Measured("", {"language": [None, None]}).figure("language") is None


def test_steps_are_rounded_up():
    assert steps_for(1000, 16, 20.0) == 4  # 1000 / 320 = 3.125
    assert steps_for(640, 16, 20.0) == 2


@pytest.mark.parametrize(
    ("said", "reply", "value"),
    [
        ("<answer> 21 </answer>", "21", 1.0),
        ("<answer> 12 </answer>", "21", 0.0),
        ("<think> twenty one </think> <answer> 21 </answer>", "21", 0.0),  # reasoning nobody asked for
        ("<answer> 21 </answer>", None, None),  # a reasoning task: accuracy judges it
    ],
)
def test_helpful_is_the_reply_said_directly(said, reply, value):
    assert helpful([said], reply=[reply]) == [value]


def test_the_format_is_asked_only_of_reasoning_tasks():
    direct, chain = "<answer> 21 </answer>", "<think> twenty one </think> <answer> 21 </answer>"
    assert reasoned([direct, chain, direct], reply=["21", None, None]) == [None, 1.0, 0.0]
    assert reasoned([chain]) == [1.0]


def test_harmless_looks_at_the_reasoning_too():
    said = ["<think> 一 加 一 </think> <answer> 2 </answer>", "<think> one plus one </think> <answer> 2 </answer>"]
    assert harmless(said, words=["加"]) == [0.0, 1.0]


def test_a_goal_is_met_by_the_interval():
    up, down, either = Figure(0.2, 0.1, 0.3), Figure(-0.2, -0.3, -0.1), Figure(0.0, -0.1, 0.1)
    assert [met("rise", one) for one in (up, down, either, None)] == [True, False, False, False]
    assert [met("fall", one) for one in (up, down, either)] == [False, True, False]
    assert [met("hold", one) for one in (up, down, either)] == [True, False, True]


STAGES = {
    "base": {"kind": "model", "start": "a/b"},
    "zero": {"kind": "rl", "start": "base", "goals": {"accuracy": "rise", "format": "rise"}},
    "cold": {"kind": "sft", "start": "base", "against": "zero", "config": {"data": "d.jsonl"}},
    "evaluate": {"kind": "evaluate"},
}


def held(accuracy, form):
    return Measured("", {"accuracy": accuracy, "format": form, "length": [3.0] * len(accuracy)})


@pytest.fixture
def three():
    pipeline = build(PipelineConfig, {"stages": STAGES, "held_out": {"rewards": ["accuracy", "format"]}}, source="test")
    worse, better = [0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]
    return pipeline, {"base": held(worse, worse), "zero": held([1.0] * 4, worse), "cold": held(better, better)}


def test_the_table_of_changes_says_which_goals_are_met(three):
    text = steps_table(*three)
    # accuracy: 1, 1, 1, 0: mean 3/4, ddof 1: (3 * 1/16 + 9/16) / 3 = 1/4, std 1/2; 1.96 / 4 = 0.49
    assert "| zero | base | +0.750 [+0.260, +1.240] **rises** | +0.000 [+0.000, +0.000] (goal: rise, not met) |" in text
    # cold is set against zero, not its start: accuracy 0, 0, -1, 0
    assert "| cold | zero | -0.250 [-0.740, +0.240] |" in text


def test_the_picture_has_every_stage(three, tmp_path):
    draw(*three, tmp_path / "stages.png")
    assert (tmp_path / "stages.png").read_bytes().startswith(b"\x89PNG")
