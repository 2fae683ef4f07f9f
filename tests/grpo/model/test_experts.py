"""Experts that were sampled are heard, compared with those in training, and taken again by routing replay."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from grpo.config.sections import ConfigError
from grpo.learner.learner import Learner
from grpo.metrics import expert_metrics
from grpo.model.experts import UNKNOWN, Ear, listening, records
from grpo.model.loading import adapt
from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling

ADVANTAGES = [[1.0, -1.0, 0.5, -0.5]] * 2
MIXED = ["qwen3_moe", "gpt_oss"]


def sampled(tiny, policy, tokens=12):
    request = Request(4, tokens, Sampling(1.0), seed=0)
    return [group for _, group in sorted(generate(policy, tiny.prompts([9, 5]), request), key=lambda pair: pair[0])]


def move_routers(policy, size=0.3):
    for layer in policy.model.layers:
        router = layer.mlp.gate if hasattr(layer.mlp, "gate") else layer.mlp.router
        router.weight = router.weight + size * mx.random.normal(router.weight.shape, key=mx.random.key(1))


@pytest.mark.parametrize("kind", [*MIXED, "deepseek_v3"])
def test_sampling_hears_every_mixture_and_training_agrees(tiny, kind):
    policy = tiny.policy(kind)
    groups = sampled(tiny, policy)
    mixtures = 1 if kind == "deepseek_v3" else 2  # its first block is dense
    assert policy.mixtures.sizes == [4] * mixtures
    for group in groups:
        for rollout in group.rollouts:
            if len(rollout.tokens) > 1:
                assert rollout.experts.shape == (len(rollout.tokens) - 1, mixtures, 2)
                assert rollout.experts.min() >= 0 and rollout.experts.max() < 4
    metrics = Learner(policy, tiny.config(fine_tune="full", beta=0.0)).learn(groups, ADVANTAGES, 0)
    assert metrics["experts/agreement"] == pytest.approx(1.0)
    load = expert_metrics([rollout for group in groups for rollout in group.rollouts], policy.mixtures.sizes)
    assert 1.0 <= load["experts/load_max"] <= 2.0  # two of four experts take all tokens at most: twice an even share


def test_load_and_idle_experts():
    # tokens to experts 0 and 1, 0 and 2: of 4 choices expert 0 has 2, twice the even share of 1; expert 3 is idle
    class Heard:
        experts = np.array([[[0, 1]], [[0, 2]], [[UNKNOWN, UNKNOWN]]], np.int16)

    assert expert_metrics([Heard()], [4]) == {"experts/load_max": 2.0, "experts/idle": 0.25}
    assert expert_metrics([], [4]) == {}


def plain_block(block, x, told):
    """The mixture's formula, one expert after another: sum over the told ones of their normalised weight."""
    weights = mx.softmax(block.gate(x), axis=-1)
    chosen = (mx.arange(weights.shape[-1]) == told[..., None]).any(axis=-2)
    weights = mx.where(chosen, weights, 0.0)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    experts, total = block.switch_mlp, mx.zeros_like(x)
    for number in range(weights.shape[-1]):
        gate, up, down = (part.weight[number] for part in (experts.gate_proj, experts.up_proj, experts.down_proj))
        total = total + weights[..., number, None] * ((nn.silu(x @ gate.T) * (x @ up.T)) @ down.T)
    return total


def test_replay_is_the_formula_with_the_told_experts(tiny):
    policy = tiny.policy("qwen3_moe")
    policy.mixtures.allow_replay(policy.trunk, policy.whole_caches())
    assert policy.mixtures.replay_refused is None
    block = policy.model.layers[1].mlp
    x, told = mx.random.normal((2, 3, 32), key=mx.random.key(0)), mx.array([[[0, 3], [1, 2], [3, 1]], [[2, 0]] * 3])
    stacked = mx.stack([mx.full(told.shape, UNKNOWN), told], axis=2)  # of both mixtures; this is the second

    def forced(x):
        with listening(Ear(stacked)):
            return block(x)

    np.testing.assert_allclose(np.array(forced(x)), np.array(plain_block(block, x, told)), atol=1e-5)
    slopes = [mx.grad(lambda x, f=f: mx.square(f(x)).sum())(x) for f in (forced, lambda x: plain_block(block, x, told))]
    np.testing.assert_allclose(*map(np.array, slopes), rtol=1e-4, atol=1e-4)
    with listening(Ear(mx.full(stacked.shape, UNKNOWN))):
        np.testing.assert_array_equal(np.array(block(x)), np.array(policy.model.layers[1].mlp(x)))


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize("keys", [{}, {"gradient_checkpointing": True}, {"token_budget": 5}])
def test_replay_trains_on_what_was_sampled(tiny, kind, keys):
    found = {}
    for replay in (False, True):
        policy = tiny.policy(kind)
        groups = sampled(tiny, policy)
        move_routers(policy)
        config = tiny.config(fine_tune="full", beta=0.0, routing_replay=replay, **keys)
        learner, seen = Learner(policy, config), []
        learner.optimizer.apply = lambda gradient, loss, step, seen=seen: (seen.append(gradient), (0.0, True))[1]
        metrics = learner.learn(groups, ADVANTAGES, 0)
        assert metrics["experts/agreement"] < 0.95  # of the routers' own choice, whatever is taken
        found[replay] = metrics["sampling/mismatch_k3"], seen[0]
    assert found[True][0] != found[False][0]
    if not keys:
        return
    policy = tiny.policy(kind)
    groups = sampled(tiny, policy)
    move_routers(policy)
    learner, seen = Learner(policy, tiny.config(fine_tune="full", beta=0.0, routing_replay=True)), []
    learner.optimizer.apply = lambda gradient, loss, step: (seen.append(gradient), (0.0, True))[1]
    learner.learn(groups, ADVANTAGES, 0)
    for name, leaf in seen[0].items():  # however it is computed
        scale = max(mx.abs(leaf).max().item(), 1e-3)
        assert mx.abs(found[True][1][name] - leaf).max().item() <= 1e-3 * scale, name


def test_what_was_not_heard_is_unknown():
    rows = [np.zeros((2, 1, 2), np.int16), None]
    assert records(rows, 3).tolist() == [[[[0, 0]], [[0, 0]], [[-1, -1]]], [[[-1, -1]]] * 3]
    assert records([None], 3) is None


@pytest.mark.parametrize(("kind", "reason"), [("llama", "has none"), ("deepseek_v3", "inside compiled code")])
def test_where_there_is_nothing_to_tell_replay_is_refused(tiny, kind, reason):
    with pytest.raises(ConfigError, match=reason):
        Learner(tiny.policy(kind), tiny.config(routing_replay=True))


def test_a_step_on_experts_with_adapters_hears_each_mixture_once(tiny):
    config = tiny.config(fine_tune="lora", lora={"rank": 2, "alpha": 4})
    policy = adapt(config, tiny.model("qwen3_moe"), tiny.tokenizer(), name="qwen3_moe")
    assert len(policy.mixtures.sizes) == len(policy.model.layers)  # an adapter holds experts and is no mixture
    metrics = Learner(policy, config).learn(sampled(tiny, policy), ADVANTAGES, 0)
    assert metrics["experts/agreement"] == 1.0
