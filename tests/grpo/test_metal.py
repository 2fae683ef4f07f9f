"""On an Apple GPU: both paths agree, and bases of 16 and 4 bits are trained. Skipped elsewhere."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from grpo.learner.learner import Learner
from grpo.model.forward import completion_logprobs, rows_of
from grpo.model.loading import adapt

pytestmark = [pytest.mark.metal, pytest.mark.skipif(not mx.metal.is_available(), reason="no Apple GPU here")]
ROWS = rows_of([[11, 12, 13, 14], [21, 22]], [[41, 42, 43, 2], [51, 5], [1, 9], [7]])


def gradient(policy):
    policy.model.train()
    score = lambda _: completion_logprobs(policy, ROWS, temperature=1.0, chunk_tokens=5).sum()  # noqa: E731
    return dict(tree_flatten(nn.value_and_grad(policy.model, score)({})[1]))


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt_oss", "qwen3_5", "qwen3_moe", "gemma3n"])
def test_a_shared_prompt_has_the_gradient_of_whole_rows(tiny, kind):
    shared, whole = gradient(tiny.policy(kind)), gradient(tiny.policy(kind, shares=False))
    for name, leaf in whole.items():
        scale = mx.abs(leaf).max().item()
        assert mx.abs(shared[name] - leaf).max().item() <= 1e-3 * scale + 1e-6, name


@pytest.mark.parametrize("bits", [16, 4])
def test_a_step_of_few_bits(tiny, bits):
    model = tiny.model("llama")
    if bits == 4:
        nn.quantize(model, group_size=32, bits=4)
    config = tiny.config(fine_tune="lora", learning_rate=1e-2, dtype="bfloat16")
    policy = adapt(config, model, tiny.tokenizer(), name="tiny")
    metrics = Learner(policy, config).learn([tiny.group([11, 12, 13], [[41, 42, 2], [51, 5]])], [[1.0, -1.0]], 0)
    assert np.isfinite(metrics["grad_norm"]) and metrics["grad_norm"] > 0
