"""Completions from a source of the user's own."""

import pytest

from grpo.config.sections import ConfigError
from grpo.rollout.engine import Request
from grpo.rollout.sampler import Sampling
from grpo.rollout.source import RolloutInputs, groups_of

OWN = """
from grpo.rollout.engine import generate

def source(inputs):
    yield from generate(inputs.policy, inputs.prompts, inputs.request, inputs.on_tokens)

def lazy(inputs):
    yield from list(source(inputs))[:1]
"""


def test_a_source_equal_to_the_engine_gives_its_run_to_the_bit(runs):
    runs.module("mine", OWN)
    first, second = runs.run("steps=2", name="engine"), runs.run("steps=2", "rollout_source=mine:source", name="own")
    assert (first.folder / "adapters.safetensors").read_bytes() == (second.folder / "adapters.safetensors").read_bytes()
    short = runs.run("steps=2", "rollout_source=mine:lazy", name="lazy")
    assert short.code == 2 and "rollout_source mine:lazy gave groups for 1 of 2 prompts" in short.err


def test_another_number_of_samples_is_refused(tiny):
    inputs = RolloutInputs(None, tiny.prompts([3, 3]), Request(2, 8, Sampling(1.0)), lambda tokens: None)
    group = tiny.group([1], [[4, 2]])
    for given in ([(0, group)], [(5, tiny.group([1], [[4], [5]]))]):
        with pytest.raises(ConfigError, match="every prompt of 0 to 1 needs 2, once"):
            list(groups_of(lambda _, given=given: given, "mine:source", inputs))
