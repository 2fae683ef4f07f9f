"""Intervals over the seeds of a pipeline, and the table of a record."""

import pytest

from benchmarks.recipe import over_seeds, table


def test_the_interval_over_three_seeds_is_students():
    # mean 2, s 1; t of 2 degrees of freedom 4.303: 4.303 / sqrt(3) = 2.4843; 4.303 * sqrt(4 / 3) = 4.9687
    assert over_seeds([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.4843, 4.9687), abs=1e-4)
    assert over_seeds([1.0]) is None


def number(mean):
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def seed(accuracy, apart, *, met):
    base = {"kind": "miniature", "control": False, "held_out": {"accuracy": number(0.4), "length": number(9.0)}}
    zero = {
        "kind": "rl",
        "control": False,
        "sampled_tokens": 1000,
        "held_out": {"accuracy": number(accuracy), "length": number(9.0)},
        "against": "base",
        "change": {"accuracy": number(accuracy - 0.4)},
        "goals": {"accuracy": {"goal": "rise", "met": met}},
    }
    comparison = {
        "reward": "accuracy",
        "distilled": "distill",
        "sampled_tokens": {"distill": 2000, "student_rl": 2100},
        "difference": {"student_rl": number(apart)},
    }
    return {"stages": {"base": base, "zero": zero}, "comparison": comparison}


def test_the_table_has_means_intervals_and_how_many_seeds_met_a_goal():
    machine = {"processor": "P", "cores": 2, "date": "2026-01-01"}
    seeds = {"1": seed(0.7, 0.3, met=True), "2": seed(0.8, 0.3, met=False)}
    text = table(
        {"config": "c.yaml", "overrides": [], "control_seeds": [], "commit": "abc", "machine": machine, "seeds": seeds}
    )
    # s of 0.7 and 0.8 is 0.0707; t of 1 degree 12.706: half 0.635, of one more seed 1.100; a share stays within 0 and 1
    assert "| zero | 0.750 [0.11, 1.00], 0.00 to 1.00 | 1,000 |" in text
    assert "| zero | base | accuracy: rise | +0.350 [-0.285, +0.985], -0.750 to +1.450 | 1 of 2 |" in text
    assert "| student_rl | 2,100 | +0.300 [+0.300, +0.300], +0.300 to +0.300 |" in text
