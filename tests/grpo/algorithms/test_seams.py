"""A loss and an advantage of the user's own, by import path and from Python."""

import json

import mlx.core as mx
import numpy as np
import pytest

from grpo.algorithms.credit import credit_of
from grpo.algorithms.resolve import try_loss
from grpo.algorithms.seams import Seams
from grpo.config.sections import ConfigError
from grpo.objective import Objective
from grpo.types import LossInputs, LossOutputs

SAME_LOSS = """
import mlx.core as mx
from grpo.kl import k3
from grpo.types import LossOutputs

def loss(inputs):
    config, trained = inputs.config, inputs.mask != 0
    values = lambda array: mx.where(trained, array, 0.0)
    policy, sampler = values(inputs.policy_logprobs), mx.stop_gradient(values(inputs.sampler_logprobs))
    advantages = mx.where(trained, inputs.advantages[:, None], 0.0)
    ratio = mx.exp(policy - sampler)
    bounded = mx.clip(ratio, 1 - config.epsilon, 1 + config.clip_high)
    losses = -mx.minimum(bounded * advantages, ratio * advantages)
    if inputs.reference_logprobs is not None:
        losses = losses + config.beta * k3(policy, mx.stop_gradient(values(inputs.reference_logprobs)))
    return LossOutputs(losses, {"own/ratio": ratio}, unit="sequence")

def advantage(inputs):
    centred = inputs.rewards - inputs.rewards.mean(axis=1, keepdims=True)
    return centred

def by_token(inputs):
    rows = advantage(inputs).reshape(-1, 1)
    return mx.broadcast_to(rows, (rows.shape[0], int(inputs.lengths.max().item())))

def looks(inputs):
    assert set(inputs.by_reward) == {"accuracy"} and inputs.truncated.shape == inputs.rewards.shape
    return inputs.by_reward["accuracy"] * 0 + 1

def wrong_shape(inputs):
    return inputs.rewards[0]
"""


def adapter(run):
    return (run.folder / "adapters.safetensors").read_bytes()


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_a_loss_equal_to_grpo_gives_the_same_run_to_the_bit(runs, beta):
    runs.module("mine", SAME_LOSS)
    settings = ["steps=2", "fine_tune=lora", "lora.rank=4", f"beta={beta}"]
    built_in = runs.run(*settings, name="built_in")
    own = runs.run(*settings, "loss_type=mine:loss", name="own")
    assert adapter(own) == adapter(built_in)
    for mine, theirs in zip(own.metrics, built_in.metrics, strict=True):
        assert (mine["loss"], mine["grad_norm"]) == (theirs["loss"], theirs["grad_norm"])
        assert mine["own/ratio"] == pytest.approx(1.0, abs=0.1)


def test_an_advantage_equal_to_dr_grpo_gives_its_run(runs):
    runs.module("mine", SAME_LOSS)
    built_in = runs.run("steps=2", "scale_rewards=none", name="built_in")
    for name in ("advantage", "by_token"):
        own = runs.run("steps=2", f"advantage=mine:{name}", name=name)
        for mine, theirs in zip(own.metrics, built_in.metrics, strict=True):
            assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("loss_type=nowhere:loss", "loss_type 'nowhere:loss': module nowhere not imported: ModuleNotFoundError"),
        ("loss_type=mine:nothing", "loss_type 'mine:nothing': mine has no function 'nothing'"),
        ("loss_type=mine:advantage", "loss_type mine:advantage: AttributeError"),
        ("advantage=mine:wrong_shape", "advantage mine:wrong_shape must return [prompts, samples]"),
        ("advantage=:mine", "must read 'package.module:function'"),
    ],
)
def test_what_is_wrong_with_an_own_function_is_one_line(runs, setting, reason):
    runs.module("mine", SAME_LOSS)
    run = runs.run("steps=1", setting)
    assert run.code == 2
    assert reason in run.err and "Traceback" not in run.err


def test_a_loss_that_returns_something_else_is_refused_before_the_run(tiny):
    with pytest.raises(ConfigError, match="must return LossOutputs"):
        try_loss(lambda inputs: inputs.policy_logprobs.sum(), tiny.config())


def test_rows_of_advantage_zero_stay_where_a_loss_learns_from_them(tiny):
    config = tiny.config(beta=0.0)
    likelihood = Objective(config, lambda inputs: LossOutputs(-inputs.policy_logprobs))
    weighted = Objective(config, lambda inputs: LossOutputs(-inputs.policy_logprobs * inputs.advantages[:, None]))
    assert likelihood.keeps_zero and not weighted.keeps_zero and not Objective(config).keeps_zero


def test_a_loss_with_needs_gets_entropies(tiny):
    def bonus(inputs: LossInputs) -> LossOutputs:
        return LossOutputs(-inputs.entropies)

    assert not Objective(tiny.config()).needs_entropies
    bonus.needs = {"entropies"}
    assert Objective(tiny.config(), bonus).needs_entropies


def test_missing_rewards_get_no_credit(tiny):
    groups = [tiny.group([1], [[4, 2], [5]])]
    rewards = np.array([[1.0, np.nan]], dtype=np.float32)
    config = tiny.config(control="random_reward", num_generations=2, prompts_per_step=1)
    assert credit_of(lambda inputs: inputs.rewards, config, groups, [], rewards) == [[1.0, 0.0]]
    assert credit_of(lambda inputs: inputs.rewards.sum() * inputs.missing, config, groups, [], rewards) == [[0.0, 0.0]]
    tokens = credit_of(lambda inputs: mx.ones((2, 3)), config, groups, [], rewards)
    assert tokens == [[(1.0, 1.0), (0.0,)]]
    with pytest.raises(ConfigError, match="must be finite"):
        credit_of(lambda inputs: inputs.rewards * mx.inf, config, groups, [], rewards)


def test_callbacks_see_every_step(runs, monkeypatch):
    seen = []
    seams = Seams(callbacks=(lambda step, metrics: seen.append((step, metrics["reward"])),))
    import grpo.opening as opening
    from grpo.trainer import Trainer

    monkeypatch.setattr(
        opening, "open_run", lambda *a, _open=opening.open_run, **k: _open(*a, **k, make=_make(Trainer, seams))
    )
    run = runs.run("steps=2")
    assert seen == [(line["step"], pytest.approx(line["reward"])) for line in run.metrics]
    assert json.dumps(seen)


def _make(kind, seams):
    return lambda *arguments, **options: kind(*arguments, **options, seams=seams)
