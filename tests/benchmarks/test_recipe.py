"""Intervals over the seeds of a pipeline, and the table of a record."""

import json

import pytest

from benchmarks import claims
from benchmarks.recipe import main, over_seeds, table, without_place


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


SMALL = """
held_out: {data: digit_sums, template: plain, tasks: 4, max_completion_length: 4, rewards: [accuracy, format]}
stages:
  base: {kind: miniature, config: {steps: 1, batch: 2}}
  zero:
    kind: rl
    start: base
    goals: {format: hold}
    config: {steps: 1, fine_tune: full, template: plain, prompts_per_step: 1, num_generations: 2,
             max_completion_length: 4, reward_weights: {format_similarity: 1.0}}
  evaluate: {kind: evaluate}
"""


def test_a_pipeline_is_run_and_its_record_gives_its_table(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(claims.ROOT))
    (tmp_path / "small.yaml").write_text(SMALL)
    page = tmp_path / "page.md"
    given = ["--config", str(tmp_path / "small.yaml"), "--seeds", "1", "--output", str(tmp_path / "out")]
    assert main([*given, "--page", str(page), "stages.base.config.learning_rate=0.001"]) == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert str(tmp_path) not in json.dumps(record)
    zero = record["seeds"]["1"]["stages"]["zero"]
    assert zero["against"] == "base" and zero["goals"]["format"]["goal"] == "hold"
    assert 2 <= zero["sampled_tokens"] <= 8
    assert claims.flat(table(record)) in claims.flat(page.read_text())
    assert (tmp_path / "out" / "stages.png").read_bytes().startswith(b"\x89PNG")


def test_a_place_on_this_machine_stays_out_of_the_record():
    assert without_place("stages.base.start=/home/me/model") == "stages.base.start=DIR"
    assert without_place("seed=3") == "seed=3"


def test_one_seed_alone_has_its_intervals_over_problems():
    machine = {"processor": "P", "cores": 2, "date": "2026-01-01"}
    record = {"config": "c.yaml", "overrides": [], "control_seeds": [], "commit": "abc", "machine": machine}
    text = table(record | {"seeds": {"1": seed(0.7, 0.3, met=True)}})
    assert (
        "| zero | 0.700 [0.60, 0.80] | 1,000 |" in text and "One seed; in brackets 95% over held-out problems" in text
    )
    assert "| zero | base | accuracy: rise | +0.300 [+0.200, +0.400] | 1 of 1 |" in text
