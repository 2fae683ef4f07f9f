"""GRPO_PLAIN turns every replacement of grpo/cpu off; anything but 0, 1 and all is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from grpo.config.sections import ColdStart
from grpo.cpu import few_rows, fusion, switch
from grpo.cpu.exponential import exp, on_cpu, row_max
from grpo.cpu.lanes import lanes, most_lanes
from grpo.model import miniature

CONFTEST = Path(__file__).parents[1] / "conftest.py"
STEP = """
import importlib.util, json, sys
import grpo
from grpo.cpu.blas import load_blas
load_blas()
from grpo.cpu import switch
from grpo.learner.learner import Learner
from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling
spec = importlib.util.spec_from_file_location("tiny", sys.argv[2])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
tiny = module.Tiny()
config = tiny.config(beta=0.04, num_iterations=2)
policy = tiny.policy(fine_tune="lora", adapter_noise=0.1)
policy.freeze_reference()
request = Request(4, 12, Sampling(1.0, top_p=0.9), 0, step=0)
groups = [group for _, group in sorted(generate(policy, tiny.prompts([7, 3]), request), key=lambda pair: pair[0])]
figures = Learner(policy, config).learn(groups, [[1.5, -0.5, -0.5, -0.5], [0.9, -0.9, 0.3, 0.4]], 0)
figures |= {name: leaf.square().sum().item() for name, leaf in policy.trainable().items()}
tokens = [rollout.tokens for group in groups for rollout in group.rollouts]
open(sys.argv[1], "w").write(json.dumps(figures | {"tokens": tokens, "serves": switch.serves()}))
"""


@pytest.fixture(autouse=True)
def read_again():
    """The variable is read once a process."""
    switch._setting.cache_clear()
    yield
    switch._setting.cache_clear()


@pytest.mark.parametrize(
    ("value", "plain", "without_blas"),
    [(None, False, False), ("", False, False), ("0", False, False), ("1", True, False), ("all", True, True)],
)
def test_values(monkeypatch, value, plain, without_blas):
    monkeypatch.delenv(switch.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(switch.VARIABLE, value)
    assert (switch.plain(), switch.without_blas()) == (plain, without_blas)


def test_another_value_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv(switch.VARIABLE, "yes")
    with pytest.raises(SystemExit) as stopped:
        switch.plain()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: GRPO_PLAIN must be 0, 1 or all, got 'yes'\n"


@pytest.mark.parametrize("plain", [False, True])
def test_the_switch_decides_on_each_replacement(monkeypatch, plain):
    monkeypatch.setenv(switch.VARIABLE, "1" if plain else "0")
    assert switch.serves() is on_cpu(mx.zeros(1)) is not plain
    assert most_lanes(on_cpu=True) == (1 if plain else 2)
    assert most_lanes(on_cpu=False) == 1
    with fusion.fused_gradients():
        assert fusion._local.fuses is not plain
    x = mx.random.normal((300, 64), key=mx.random.key(0))
    assert mx.array_equal(exp(x), mx.exp(x)).item() is plain
    assert mx.allclose(exp(x), mx.exp(x), rtol=2e-6, atol=0).item()
    assert mx.array_equal(row_max(x), x.max(axis=-1, keepdims=True)).item()


def test_plain_runs_on_one_lane_without_the_compiled_library(monkeypatch):
    monkeypatch.setenv(switch.VARIABLE, "1")
    assert lanes() == 1
    with pytest.raises(few_rows.Unavailable, match="GRPO_PLAIN is set"):
        few_rows.load(None)


def test_a_step_is_the_same_both_ways(tmp_path):
    """One rollout batch and its updates of a tiny Llama: the path changes rounding alone."""
    ways = {}
    for value in ("0", "1"):
        file = tmp_path / f"{value}.json"
        done = subprocess.run(
            [sys.executable, "-c", STEP, str(file), str(CONFTEST)],
            env={**os.environ, switch.VARIABLE: value, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        ways[value] = json.loads(file.read_text())
    cpu, plain = ways["0"], ways["1"]
    assert plain.pop("serves") is False
    assert cpu.pop("serves") is (mx.default_device().type == mx.DeviceType.cpu)
    assert cpu.pop("tokens") == plain.pop("tokens")
    for name, value in cpu.items():
        assert plain[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_a_run_is_the_same_both_ways(runs):
    """Three steps of a run of the command, from one model: what its curves show."""
    metrics = {}
    for value in ("0", "1"):
        arguments = runs.arguments(f"way{value}", "steps=3", "beta=0.04", "eval_every=0")
        done = subprocess.run(
            [sys.executable, "-m", "grpo.train", *arguments],
            cwd=runs.modules,
            env={**os.environ, switch.VARIABLE: value, "PYTHONPATH": os.pathsep.join([str(runs.modules), *sys.path])},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert ("plain path" in done.stdout) is (value == "1")
        lines = (runs.folder(f"way{value}") / "metrics.jsonl").read_text().splitlines()
        metrics[value] = [json.loads(line) for line in lines]
    assert len(metrics["0"]) == 3
    for cpu, plain in zip(metrics["0"], metrics["1"], strict=True):
        for name in ("reward", "kl", "grad_norm", "loss", "completions/mean_length", "entropy"):
            assert plain[name] == pytest.approx(cpu[name], rel=1e-3, abs=1e-5), name


def test_the_miniature_is_the_same_model_both_ways(tmp_path, monkeypatch):
    made = []
    for value in ("0", "1"):
        monkeypatch.setenv(switch.VARIABLE, value)
        switch._setting.cache_clear()
        miniature.build(tmp_path / value, ColdStart(steps=3, batch=4), seed=0)
        made.append(mx.load(str(tmp_path / value / "model.safetensors")))
    assert all(mx.array_equal(leaf, made[1][name]).item() for name, leaf in made[0].items())


def test_off_ends_with_its_block(monkeypatch):
    monkeypatch.setenv(switch.VARIABLE, "0")
    with switch.off():
        assert switch.plain() and not switch.serves()
    assert not switch.plain()
