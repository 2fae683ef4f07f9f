"""A measured step of a tiny model does what a training step does; its figures add up."""

import json

import pytest

from benchmarks import step_speed
from benchmarks.speed.process import load, random_prompts
from grpo.learner.learner import Learner


def test_a_step_changes_the_policy_and_times_both_halves(byte_model):
    policy, config = load(str(byte_model), samples=4, tokens=6)
    before = {name: leaf.tolist() for name, leaf in policy.trainable().items()}
    step = step_speed.one_step(policy, Learner(policy, config), random_prompts([9], 260), 0)
    assert any(leaf.tolist() != before[name] for name, leaf in policy.trainable().items())
    assert min(step.values()) > 0


def test_the_record_holds_every_counted_step_and_its_share(byte_model, tmp_path):
    arguments = ["--model", str(byte_model), "--prompt", "9", "17", "--samples", "2", "--tokens", "4"]
    arguments += ["--rounds", "1", "--steps", "2", "--output", str(tmp_path), "--page", str(tmp_path / "PAGE.md")]
    assert step_speed.main(arguments) == 0
    record = json.loads((tmp_path / "step_speed.json").read_text())
    (run,) = record["runs"]["bytes"]["17"]
    assert len(run["step_seconds"]) == 2
    for step in range(2):
        assert run["step_seconds"][step] == pytest.approx(run["rollout_seconds"][step] + run["learn_seconds"][step])
        rate = run["flops"] / run["learn_seconds"][step] / 1e9
        assert run["share_of_rate"][step] == pytest.approx(rate / run["limits"]["gflops"])
    assert run["flops"] > record["runs"]["bytes"]["9"][0]["flops"]
    assert record["machine"]["versions"]["mlx"] and record["machine"]["blas"]["name"]
    assert "learning on a prompt of 17 takes" in (tmp_path / "PAGE.md").read_text()


def run(learning):
    return {
        "rollout_seconds": [1.0],
        "learn_seconds": learning,
        "step_seconds": [1.0 + value for value in learning],
        "share_of_rate": [0.5],
        "learn_peak_bytes": [1e9],
        "resident_bytes": 2e9,
    }


def test_medians_are_over_all_steps_of_all_rounds():
    # 2, 4, 9, 3, 5: median 4; the longer prompt 6, 12, 8: median 8
    table = step_speed.table({"m": {"130": [run([2.0, 4.0, 9.0]), run([3.0, 5.0])], "1000": [run([6.0, 12.0, 8.0])]}})
    assert "| m | 130 | 1.00 | 4.00 | 5.00 | 50% | 1.00 GB | 2.00 GB |" in table
    assert "prompt of 1000 takes 2.00 times that on 130" in table
