"""Adapters stand on every linear layer and on the experts, never on a router by itself, and their gradient is right."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchGLU, SwitchLinear
from mlx_lm.tuner.lora import LoRASwitchLinear

from grpo.config.sections import ConfigError, LoRA
from grpo.model.loading import adapt
from grpo.model.targets import adapted_names, described, routers

MIXTURES = {"qwen3_moe": {"mlp.gate"}, "gpt_oss": {"mlp.router"}}


def adapted(tiny, kind, **lora):
    config = tiny.config(fine_tune="lora", lora={"rank": 2, "alpha": 4, **lora})
    return adapt(config, tiny.model(kind), tiny.tokenizer(), name=kind)


@pytest.mark.parametrize("kind", MIXTURES)
def test_experts_get_adapters_and_routers_none(tiny, kind):
    policy = adapted(tiny, kind)
    trained = {name.rsplit(".lora_", 1)[0] for name in policy.trainable()}
    assert any(isinstance(part, LoRASwitchLinear) for part in policy.adapters.values())
    assert all(part in policy.adapters for part in trained)
    assert not [name for name in trained if any(name.endswith(router) for router in MIXTURES[kind])]
    assert "gate_proj of the experts" in described(policy.model) and "(router)" in described(policy.model)


def test_a_router_that_is_named_is_trained(tiny):
    policy = adapted(tiny, "qwen3_moe", targets=["gate", "q_proj"])
    assert {name.rsplit(".", 2)[1] for name in policy.trainable()} == {"gate", "q_proj"}


def test_routers_are_known_by_name_and_by_the_number_of_experts(tiny):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.choice, self.up = nn.Linear(8, 3), nn.Linear(8, 4), nn.Linear(8, 16)
            self.experts = SwitchGLU(8, 4, 4)

    assert routers(Block()) == {"gate", "choice"}
    assert routers(tiny.model("llama").layers[0]) == set()


def test_a_weight_that_the_model_reads_without_calling_its_layer_gets_no_adapter(tiny):
    model = tiny.model("gemma3n")
    names = adapted_names(model, LoRA())
    assert "altup.prediction_coefs" not in names and "self_attn.q_proj" in names
    with pytest.raises(ConfigError, match="prediction_coefs can't have an adapter"):
        adapted_names(model, LoRA(targets=["prediction_coefs"]))


def by_a_plain_loop(experts, x, indices):
    """The same experts one token and choice at a time, from dense sums of weight and adapter."""

    def whole(part):
        base = part.linear
        weight = base.weight
        if isinstance(base, QuantizedSwitchLinear):
            weight = mx.dequantize(weight, base.scales, base.biases, group_size=base.group_size, bits=base.bits)
        return weight + part.scale * (part.lora_b @ part.lora_a)

    up, gate, down = (whole(getattr(experts, name)) for name in ("up_proj", "gate_proj", "down_proj"))
    rows = []
    for token, chosen in enumerate(indices.tolist()):
        outputs = [down[e] @ (nn.silu(gate[e] @ x[token]) * (up[e] @ x[token])) for e in chosen]
        rows.append(mx.stack(outputs))
    return mx.stack(rows)  # [tokens, choices, dims]


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("tokens", [5, 40])  # 40 x 2 choices: mlx_lm sorts them by expert
def test_the_gradient_of_experts_is_that_of_a_plain_loop(tokens, quantised):
    mx.random.seed(3)
    experts = SwitchGLU(32, 32, 4)
    if quantised:
        for name in ("up_proj", "gate_proj", "down_proj"):
            setattr(experts, name, getattr(experts, name).to_quantized(group_size=32, bits=4))
    experts.freeze()
    for name in ("up_proj", "gate_proj", "down_proj"):
        part = LoRASwitchLinear.from_base(getattr(experts, name), r=2, scale=2.0)
        part.lora_b = mx.random.normal(part.lora_b.shape)
        setattr(experts, name, part)
    x, pulled = mx.random.normal((tokens, 32)), mx.random.normal((tokens, 2, 32))
    indices = mx.array(np.random.default_rng(0).integers(0, 4, (tokens, 2)))

    def gradients(function):
        loss = lambda module, x: (function(module, x) * pulled).sum()  # noqa: E731
        value, gradient = nn.value_and_grad(experts, loss)(experts, x)
        by_input = mx.grad(lambda x: loss(experts, x))(x)
        return value, {**dict(tree_flatten(gradient)), "x": by_input}

    value, mine = gradients(lambda module, x: module(x, indices))
    expected_value, expected = gradients(lambda module, x: by_a_plain_loop(module, x, indices))
    assert value.item() == pytest.approx(expected_value.item(), rel=1e-4)
    assert mine.keys() == expected.keys() and len(mine) == 7
    for name, leaf in expected.items():
        scale = mx.abs(leaf).max().item()
        assert mx.abs(mine[name] - leaf).max().item() <= 1e-5 * scale, name


def test_experts_may_be_named_alone(tiny):
    policy = adapted(tiny, "qwen3_moe", targets=["down_proj"])
    assert all(isinstance(part, LoRASwitchLinear) for part in policy.adapters.values())
    assert isinstance(next(iter(policy.adapters.values())).linear, SwitchLinear)
