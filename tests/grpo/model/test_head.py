"""A head in blocks gives what it gives whole, of any kind it may be of."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from grpo.model.chunks import chunked_logprobs
from grpo.model.head import Head

VOCAB, HIDDEN = 40, 64


def embedding(bits):
    layer = nn.Embedding(VOCAB, HIDDEN)
    return Head(layer if bits is None else layer.to_quantized(group_size=32, bits=bits), tied=True)


def linear(bits):
    layer = nn.Linear(HIDDEN, VOCAB, bias=True)
    return Head(layer if bits is None else layer.to_quantized(group_size=32, bits=bits), tied=False)


@pytest.mark.parametrize("bits", [None, 4, 8])
@pytest.mark.parametrize("kind", [embedding, linear])
def test_values_and_gradients_in_blocks_are_those_of_the_whole(kind, bits):
    head = kind(bits)
    head.module.freeze()
    hidden, tokens = mx.random.normal((9, HIDDEN), key=mx.random.key(1)), mx.arange(0, 36, 4)

    def scored(hidden, frozen):
        project = lambda _, states: head(states)  # noqa: E731
        return chunked_logprobs(hidden, tokens, project, {}, temperature=0.7, chunk_tokens=2, head=frozen)[0].sum()

    value, gradient = mx.value_and_grad(scored)(hidden, head.frozen())
    expected, expected_gradient = mx.value_and_grad(scored)(hidden, None)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(np.array(gradient), np.array(expected_gradient), rtol=1e-4, atol=1e-5)


def test_a_trained_head_or_one_of_another_kind_has_no_blocks():
    trained = linear(None)
    assert trained.frozen() is None

    class Other(nn.Linear):
        pass

    other = Other(HIDDEN, VOCAB)
    other.freeze()
    assert Head(other, tied=False).frozen() is None


def test_blocks_see_weights_that_are_put_in_later():
    head = linear(None)
    head.module.freeze()
    frozen, hidden = head.frozen(), mx.ones((1, HIDDEN))
    head.module.weight = 2 * head.module.weight
    assert mx.array_equal(frozen.project(hidden, slice(3, 7)), head(hidden)[:, 3:7]).item()
