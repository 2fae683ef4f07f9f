"""Adapters that begin as the principal part of their weights."""

import json

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from grpo.config.sections import ConfigError
from grpo.learner.learner import Learner
from grpo.model.adapter_files import attach
from grpo.model.loading import adapt
from grpo.model.pissa import principal

TOKENS = mx.array([[11, 12, 13, 14, 15]])


def policy_of(tiny, kind="llama", **keys):
    config = tiny.config(fine_tune="lora", lora={"rank": 4, "alpha": 8, "init": "pissa"}, learning_rate=1e-2, **keys)
    return adapt(config, tiny.model(kind), tiny.tokenizer(), name="tiny"), config


def learn(tiny, policy, config, step=0):
    group = tiny.group([11, 12, 13], [[41, 42, 2], [51, 5]])
    return Learner(policy, config).learn([group], [[1.0, -1.0]], step)


def test_the_principal_part_is_that_of_the_singular_values():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(20, 30)).astype(np.float32)
    a, b = principal(mx.array(weight), 12, seed=1)  # 12 + 8 columns: exact
    left, sizes, right = np.linalg.svd(weight.astype(np.float64))
    best = (left[:, :12] * sizes[:12]) @ right[:12]
    np.testing.assert_allclose(np.array(a @ b).T, best, atol=1e-4)
    np.testing.assert_allclose(np.array(a).T @ np.array(a), np.array(b) @ np.array(b).T, atol=1e-3)  # evenly divided


def test_the_network_begins_unchanged_and_is_its_own_reference(tiny):
    plain = tiny.model()(TOKENS)
    policy, config = policy_of(tiny)
    assert mx.abs(policy.model(TOKENS) - plain).max().item() < 1e-4
    assert all(mx.abs(leaf).max().item() > 0 for leaf in policy.trainable().values())
    policy.freeze_reference()
    learn(tiny, policy, config)
    assert mx.abs(policy.model(TOKENS) - plain).max().item() > 1e-3
    with policy.as_reference():
        assert mx.abs(policy.model(TOKENS) - plain).max().item() < 1e-4


def test_it_is_written_as_an_ordinary_adapter_of_twice_the_rank(tiny, tmp_path):
    policy, config = policy_of(tiny)
    policy.freeze_reference()
    learn(tiny, policy, config)
    policy.save_adapter(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["lora_parameters"]["rank"] == 8
    other = tiny.model()
    attach(other, tmp_path)
    np.testing.assert_allclose(np.array(other(TOKENS)), np.array(policy.model(TOKENS)), atol=2e-4)


def test_what_was_saved_goes_on_with_the_same_bits(tiny):
    first, config = policy_of(tiny)
    first.freeze_reference()
    learn(tiny, first, config)
    second, _ = policy_of(tiny)
    second.load_saved(first.saved())
    one, other = (dict(tree_flatten(policy.model.parameters())) for policy in (first, second))
    assert all(mx.array_equal(one[name], other[name]).item() for name in one)
    third, _ = policy_of(tiny, seed=5)  # begins with another subspace iteration, and takes the saved one
    third.load_saved(first.saved())
    np.testing.assert_allclose(np.array(third.model(TOKENS)), np.array(first.model(TOKENS)), atol=2e-4)
    with pytest.raises(ValueError, match="another model or adapter"):
        third.load_saved({"layers.0.q_proj.lora_a": mx.zeros((2, 2))})


def test_quantised_weights_and_dora_are_refused(tiny):
    import mlx.nn as nn

    keys = {"lora": {"rank": 4, "alpha": 8, "init": "pissa"}}
    model = tiny.model()
    nn.quantize(model, group_size=32, bits=4)
    with pytest.raises(ConfigError, match=r"lora.init pissa needs weights that are not quantised"):
        adapt(tiny.config(fine_tune="lora", **keys), model, tiny.tokenizer(), name="tiny")
    with pytest.raises(ConfigError, match="pissa needs fine_tune: lora, got dora"):
        adapt(tiny.config(fine_tune="dora", **keys), tiny.model(), tiny.tokenizer(), name="tiny")
