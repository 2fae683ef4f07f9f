"""Clipping, gates and the weighted sum."""

import math

import pytest

from rewards.combine import Combination, Gate, read_gate, read_gates


def count(measured, gates=None, clip=None, weights=None):
    combination = Combination(weights or dict.fromkeys(measured, 1.0), clip or {}, read_gates(gates or {}))
    return combination.count({name: list(values) for name, values in measured.items()})


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("format", Gate("format", 0.5)),
        ("language>=0.8", Gate("language", 0.8)),
        ("my.module:f >= 2", Gate("my.module:f", 2.0)),
        ("a>=-1", Gate("a", -1.0)),
    ],
)
def test_a_gate_is_a_name_and_where_it_holds_from(text, gate):
    assert read_gate(text) == gate


@pytest.mark.parametrize("text", ["", "format>0.5", "format>=", "format>=x", "a b", "format>=0.5 and a", None, 3])
def test_what_is_no_gate_is_refused_by_name(text):
    with pytest.raises(ValueError, match=r"reward_gates\.accuracy must read NAME or NAME>=NUMBER"):
        read_gates({"accuracy": text})


MEASURED = {"a": [1.0, 1.0, 1.0], "b": [0.5, None, 0.5], "c": [None, None, None], "d": [None, 2.0, 2.0]}
WEIGHTS = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}  # c applies to none of the group, d is measured only


@pytest.mark.parametrize(
    ("missing", "totals"),
    [
        ("exclude", [1.5, None, 1.5]),  # three like completions: none is better or worse for lacking b
        ("zero", [1.5, 1.0, 1.5]),
        ("ignore", [1.5, 1.0, 1.5]),
    ],
)
def test_a_completion_that_lacks_a_reward_of_its_group(missing, totals):
    counted = Combination(WEIGHTS, missing=missing).count(MEASURED)
    assert counted.totals == totals
    lacking = [column[1] for name, column in counted.values.items() if name != "d"]
    assert lacking == {"exclude": [None] * 3, "zero": [1.0, 0.0, None], "ignore": [1.0, None, None]}[missing]
    assert MEASURED["a"][1] == 1.0  # what was measured stays


def test_three_like_completions_get_like_advantages():
    from grpo.advantages import decoupled_advantages, group_advantages
    from grpo.cpu.blas import load_blas

    load_blas()
    import mlx.core as mx

    counted = Combination(WEIGHTS).count(MEASURED)
    nan = float("nan")
    totals = mx.array([[nan if value is None else value for value in counted.totals]])
    assert group_advantages(totals).tolist() == [[0.0, 0.0, 0.0]]
    columns = [[[nan if value is None else value for value in counted.values[name]]] for name in ("a", "b")]
    assert decoupled_advantages(mx.array(columns), mx.array([1.0, 1.0])).tolist() == [[0.0, 0.0, 0.0]]


def test_another_way_with_missing_rewards_is_refused():
    with pytest.raises(ValueError, match="missing_rewards must be one of exclude, zero, ignore, got 'skip'"):
        Combination({"a": 1.0}, missing="skip")


def test_a_closed_gate_withholds_what_was_earned():
    counted = count({"accuracy": [1.0, 1.0, 1.0], "format": [1.0, 0.5, 0.49]}, {"accuracy": "format"})
    assert counted.values["accuracy"] == [1.0, 1.0, 0.0]
    assert counted.totals == [2.0, 1.5, 0.49]
    assert counted.applied == {"accuracy/gated": 1}


def test_a_closed_gate_forgives_nothing():
    # else a wrong format would be a way out of the penalty
    assert count({"overlong": [-1.0], "format": [0.0]}, {"overlong": "format"}).values["overlong"] == [-1.0]


def test_where_the_gate_has_no_value_the_gated_reward_has_none_either():
    counted = count({"accuracy": [1.0, None], "judge": [None, 0.0]}, {"accuracy": "judge"})
    assert counted.values["accuracy"] == [None, None]
    assert counted.totals == [None, 0.0]
    assert counted.applied == {"accuracy/gated": 0, "accuracy/gate_unknown": 1}


def test_gates_look_at_what_was_measured_so_their_order_does_not_matter():
    measured = {"a": [1.0], "b": [1.0], "c": [0.0]}
    assert count(measured, {"a": "b", "b": "c"}).totals == [1.0]  # b is withheld, a is not: b was measured
    assert count(measured, {"b": "c", "a": "b"}).totals == [1.0]


def test_a_gate_on_a_clipped_reward_sees_it_unclipped():
    assert count({"a": [1.0], "b": [3.0]}, {"a": "b>=2"}, {"b": (0.0, 1.0)}).totals == [2.0]


def test_values_are_held_between_their_bounds():
    counted = count({"a": [-5.0, 0.5, 7.0, None]}, clip={"a": (-1.0, 2.0)})
    assert counted.values["a"] == [-1.0, 0.5, 2.0, None]
    assert counted.applied == {"a/clipped": 2}


def test_a_gate_of_weight_zero_is_measured_only():
    assert count({"a": [1.0, 1.0], "b": [0.0, 1.0]}, {"a": "b"}, weights={"a": 2.0, "b": 0.0}).totals == [0.0, 2.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"gates": {"a": "nobody"}}, "reward_gates.a speaks of nobody, which has no weight"),
        ({"gates": {"nobody": "a"}}, "reward_gates.nobody speaks of nobody, which has no weight"),
        ({"gates": {"a": "a"}}, "reward_gates.a must be another reward"),
        ({"clip": {"nobody": (0, 1)}}, "reward_clip.nobody speaks of nobody"),
        ({"clip": {"a": (1, 1)}}, r"reward_clip.a must be \[low, high\] with low < high"),
        ({"clip": {"a": (0, math.inf)}}, "reward_clip.a must be"),
        ({"weights": {"a": True}}, "reward_weights.a must be a finite number"),
    ],
)
def test_an_impossible_combination_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        count({"a": [1.0]}, **arguments)
