"""Rotations from tables against the models' own rope, to the bit where both do the same products."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.rope_utils import initialize_rope

from grpo.cpu import rotary
from grpo.cpu.exponential import on_cpu

pytestmark = pytest.mark.skipif(not on_cpu(mx.zeros(1)), reason="MLX computes on a GPU here")
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
ROPES = {
    "whole": lambda: nn.RoPE(16),
    "partial": lambda: nn.RoPE(8),
    "interleaved": lambda: nn.RoPE(16, traditional=True),
    "scaled": lambda: nn.RoPE(16, scale=0.25, base=500),
    "llama3": lambda: initialize_rope(16, 10000, False, LLAMA3, 512),
    "yarn": lambda: initialize_rope(16, 10000, False, YARN, 512),
}


@pytest.mark.parametrize("kind", ROPES)
@pytest.mark.parametrize("offset", [0, 7, 1500, [3, 2100]])
def test_a_table_rotates_as_the_rope_does(kind, offset):
    x = mx.random.normal((2, 3, 5, 16), key=mx.random.key(1))
    offset = mx.array(offset) if isinstance(offset, list) else offset
    rope = ROPES[kind]()
    table = rotary.Tables().of(rope, 16)
    assert table is not None
    assert np.allclose(table.rotate(x, offset), rope(x, offset=offset), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ROPES)
def test_its_gradient_is_the_rotation_back(kind):
    x, pulled = (mx.random.normal((1, 2, 4, 16), key=mx.random.key(key)) for key in (1, 2))
    rope = ROPES[kind]()
    table = rotary.Tables().of(rope, 16)
    mine = mx.vjp(lambda x: table.rotate(x, 9), [x], [pulled])[1][0]
    assert np.allclose(mine, mx.vjp(lambda x: rope(x, offset=9), [x], [pulled])[1][0], rtol=1e-6, atol=1e-6)


def test_another_offset_after_one_as_an_array():
    table = rotary.Tables().of(nn.RoPE(16), 16)
    x = mx.random.normal((2, 1, 1, 16), key=mx.random.key(3))
    at_five = np.array(table.rotate(x, 5))
    table.rotate(x, mx.array([1, 2]))
    assert (np.array(table.rotate(x, 5)) == at_five).all()
    assert (np.array(table.rotate(x, mx.array([5, 5]))) == at_five).all()


class Shifted(nn.Module):
    """Not a rotation: adds the position."""

    def __call__(self, x, offset=0):
        return x + offset


class Forgetful(nn.Module):
    """A rotation that is another one for long inputs."""

    def __call__(self, x, offset=0):
        return nn.RoPE(x.shape[-1], scale=1.0 if x.shape[2] < 100 else 0.5)(x, offset=offset)


@pytest.mark.parametrize("strange", [Shifted(), Forgetful()])
def test_what_is_no_rotation_by_position_keeps_its_own_code(strange):
    rope = rotary.TabledRope(strange, rotary.Tables())
    x = mx.random.normal((1, 2, 4, 16), key=mx.random.key(4))
    assert (np.array(rope(x, offset=3)) == np.array(strange(x, offset=3))).all()


def test_layers_that_rotate_alike_share_a_table_and_parameters_stay(tiny):
    model = tiny.model()
    before = model.parameters()
    rotary.install(model)
    tokens = mx.array([[1, 2, 3]])
    model(tokens)
    ropes = [layer.self_attn.rope for layer in model.layers]
    assert len(ropes) > 1 and len({id(rope._table) for rope in ropes}) == 1
    assert model.parameters().keys() == before.keys()
    rotary.install(model)
    assert all(isinstance(layer.self_attn.rope._rope, nn.RoPE) for layer in model.layers)
