"""The core on a second real model of another architecture, an MLX directory named by GRPO_SECOND_MODEL.

Any will do; `gemma_from_gguf.py` beside this file makes one of Gemma 3 270M, whose vocabulary has 262k tokens.
"""

import os

import numpy as np
import pytest
from mlx.utils import tree_flatten

from distill.student.prune import prune
from envs import Task
from grpo.config import Config
from grpo.learner.learner import Learner
from grpo.model.forward import completion_logprobs, rows_of
from grpo.model.loading import load_policy
from grpo.rollout.engine import Request, generate
from grpo.rollout.prompts import render
from grpo.rollout.sampler import Sampling

MODEL = os.environ.get("GRPO_SECOND_MODEL", "")
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not MODEL, reason="GRPO_SECOND_MODEL names no MLX directory"),
]
QUESTION = "Question: What is the capital of France?\nAnswer:"
CONFIG = Config(
    model=MODEL or "none", template="plain", max_completion_length=12, learning_rate=1e-4, prompts_per_step=1
)


@pytest.fixture(scope="module")
def policy():
    return load_policy(CONFIG, MODEL)


def sample(policy, step=0):
    prompt = render(Task("1", QUESTION), policy.tokenizer, CONFIG)
    return next(group for _, group in generate(policy, [prompt], Request(4, 12, Sampling(1.0), seed=1, step=step)))


def test_it_says_what_a_model_of_its_kind_says(policy):
    prompt = render(Task("1", QUESTION), policy.tokenizer, CONFIG)
    (_, group), *_ = generate(policy, [prompt], Request(1, 6, Sampling(1e-3), seed=1))
    assert "Paris" in group.rollouts[0].text


def test_sampler_and_policy_logprobs_agree(policy):
    group = sample(policy)
    rows = rows_of([group.prompt.tokens], [rollout.tokens for rollout in group.rollouts])
    scored = np.array(completion_logprobs(policy, rows, temperature=1.0, chunk_tokens=128))
    differences = [
        np.abs(np.array(rollout.logprobs) - row[: len(rollout.tokens)])
        for rollout, row in zip(group.rollouts, scored, strict=True)
    ]
    assert np.concatenate(differences).mean() < 1e-4


def test_a_step_moves_the_adapters_and_nothing_else(policy):
    policy.freeze_reference()
    before = {name: np.array(leaf) for name, leaf in tree_flatten(policy.model.parameters())}
    learner = Learner(policy, CONFIG)
    metrics = [learner.learn([sample(policy, step)], [[1.0, -1.0, 1.0, -1.0]], step) for step in range(2)]
    after = {name: np.array(leaf) for name, leaf in tree_flatten(policy.model.parameters())}
    assert {name for name, leaf in after.items() if (leaf != before[name]).any()} == set(policy.trainable())
    assert metrics[0]["kl"] == 0.0 and metrics[1]["kl"] > 0


def test_half_of_its_blocks_are_a_model(policy, tmp_path):
    blocks = len(policy.model.layers)
    figures = prune(MODEL, list(range(blocks // 2)), tmp_path / "half")
    assert figures["parameters"] < figures["parameters_before"]
    assert len(load_policy(CONFIG, str(tmp_path / "half")).model.layers) == blocks // 2
