"""What a GPU would be told: the decisions, with a device that is not there."""

import os
import subprocess
import sys

import mlx.core as mx
import pytest

from grpo.config import Config
from grpo.memory import device
from grpo.memory.plan import plan
from grpo.model.facts import facts_of_name


def test_limits_come_from_the_recommended_working_set():
    # a quarter of 16 GB
    assert device.limits_of({"max_recommended_working_set_size": 16_000_000_000}) == device.Limits(
        16_000_000_000, 4_000_000_000
    )
    assert device.limits_of({"memory_size": 8}) is None


@pytest.fixture
def told(monkeypatch):
    """Collect the calls; the machine has an Apple GPU with 8,000 bytes."""
    calls = []
    monkeypatch.setattr(device, "on_gpu", lambda: True)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 8000})
    for name in ("set_wired_limit", "set_cache_limit", "clear_cache"):
        monkeypatch.setattr(mx, name, lambda *sizes, name=name: calls.append((name, *sizes)))
    return calls


def test_an_apple_gpu_is_limited_and_freed(told):
    device.limit_memory()
    device.release_freed()
    assert told == [("set_wired_limit", 8000), ("set_cache_limit", 2000), ("clear_cache",)]


def test_nothing_is_set_on_a_cpu(told, monkeypatch):
    monkeypatch.setattr(device, "on_gpu", lambda: False)
    device.limit_memory()
    device.release_freed()
    assert told == []


@pytest.mark.parametrize(("given", "kept"), [({}, "0"), ({"MLX_ENABLE_TF32": "1"}, "1")])
def test_float32_is_float32_unless_the_user_says_otherwise(given, kept):
    code = "from grpo.cpu.blas import load_blas; load_blas(); import os; print(os.environ['MLX_ENABLE_TF32'])"
    environment = {name: value for name, value in os.environ.items() if name != "MLX_ENABLE_TF32"} | given
    made = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == kept


def test_an_apple_gpu_bounds_what_the_display_has_to_wait_for(told):
    # a block of 2 x (3584 x (3584 + 512 + 512 + 3584) ...): 2e12 / (2 x 2.5 x weights of a block)
    facts = facts_of_name("Qwen2.5-7B")
    weights = 3584 * (3584 + 512 + 512 + 3584) + 3 * 3584 * 18944
    assert device.evaluation_tokens(facts) == int(2e12 / (5 * weights)) == 1716
    config = Config(model="x", token_budget=4096, memory_gb=400.0)
    made = plan(config, facts, on_cpu=False, prompt_tokens=64)
    assert made.config.token_budget == 1716 and "token_budget 4096 is lowered to 1716" in made.said


def test_a_cpu_bounds_nothing(told, monkeypatch):
    monkeypatch.setattr(device, "on_gpu", lambda: False)
    assert device.evaluation_tokens(facts_of_name("Qwen2.5-7B")) is None
