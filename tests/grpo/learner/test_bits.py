"""Bases of 16 and of few bits are trained: gradients are those of the same weights in float32."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from grpo.learner.learner import Learner
from grpo.model.forward import completion_logprobs, rows_of
from grpo.model.loading import adapt

ROWS = rows_of([[11, 12, 13, 14]], [[41, 42, 43, 2], [51, 5]])
BITS = {"affine": (4, 32), "mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}


def quantised(tiny, mode):
    bits, group_size = BITS[mode]
    model = tiny.model("llama")
    nn.quantize(model, group_size=group_size, bits=bits, mode=mode)
    return model


def whole(tiny, model):
    """The same network with its weights unpacked into float32."""
    other = tiny.model("llama")
    packed = dict(model.named_modules())
    for name, part in other.named_modules():
        twin = packed[name]
        if "scales" in twin:
            settings = {"group_size": twin.group_size, "bits": twin.bits, "mode": twin.mode}
            part.weight = mx.dequantize(twin.weight, twin.scales, twin.get("biases"), **settings).astype(mx.float32)
    return other


def gradient(policy):
    policy.model.train()
    score = lambda _: completion_logprobs(policy, ROWS, temperature=1.0, chunk_tokens=5).sum()  # noqa: E731
    return dict(tree_flatten(nn.value_and_grad(policy.model, score)({})[1]))


def adapted(tiny, model, **settings):
    config = tiny.config(fine_tune="lora", **({"lora": {"rank": 2, "alpha": 4}, "merge_adapter": False} | settings))
    policy = adapt(config, model, tiny.tokenizer(), name="tiny")
    tiny.disturb(policy.model, 0.1)
    return policy


@pytest.mark.parametrize("mode", BITS)
def test_adapters_on_a_quantised_base_have_the_gradient_of_its_unpacked_weights(tiny, mode):
    packed = quantised(tiny, mode)
    expected = gradient(adapted(tiny, whole(tiny, packed)))
    found = gradient(adapted(tiny, packed))
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        scale = mx.abs(leaf).max().item()
        assert scale > 0 and mx.abs(found[name] - leaf).max().item() <= 1e-3 * scale, name


def test_a_bfloat16_base_has_nearly_the_gradient_of_float32(tiny):
    expected = gradient(adapted(tiny, tiny.model("llama")))
    found = gradient(adapted(tiny, tiny.model("llama"), dtype="bfloat16"))
    pairs = [(np.array(found[name].astype(mx.float32)), np.array(leaf)) for name, leaf in expected.items()]
    one, other = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    assert one @ other / np.sqrt((one @ one) * (other @ other)) > 0.98  # 8 bits of mantissa


@pytest.mark.parametrize("kind", ["bfloat16", *BITS])
def test_a_step_moves_the_adapters_and_nothing_else(tiny, kind):
    model = tiny.model("llama") if kind == "bfloat16" else quantised(tiny, kind)
    policy = adapted(tiny, model, **({"dtype": "bfloat16"} if kind == "bfloat16" else {}))
    before = dict(tree_flatten(policy.model.parameters()))
    config = tiny.config(fine_tune="lora", learning_rate=1e-2)
    metrics = Learner(policy, config).learn([tiny.group([11, 12, 13], [[41, 42, 2], [51, 5]])], [[1.0, -1.0]], 0)
    assert np.isfinite(metrics["grad_norm"]) and metrics["grad_norm"] > 0
    moved = {k for k, v in tree_flatten(policy.model.parameters()) if not mx.array_equal(v, before[k]).item()}
    assert moved and all(".lora_" in name for name in moved)
