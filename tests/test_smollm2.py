"""The core on a real instruct model, SmolLM2-135M as an MLX directory named by GRPO_TEST_MODEL."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from envs import Task
from grpo.config import Config
from grpo.learner.learner import Learner
from grpo.model.forward import completion_logprobs, rows_of
from grpo.model.loading import load_policy
from grpo.rollout.engine import Request, generate
from grpo.rollout.prompts import render
from grpo.rollout.sampler import Sampling

MODEL = os.environ.get("GRPO_TEST_MODEL", "")
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not MODEL, reason="GRPO_TEST_MODEL names no MLX directory of SmolLM2"),
]
QUESTION = "Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?"
SAMPLES, TOKENS = 16, 24
CONFIG = Config(
    model=MODEL or "none", temperature=0.7, max_completion_length=TOKENS, learning_rate=1e-4, prompts_per_step=1
)


@pytest.fixture(scope="module")
def policy():
    return load_policy(CONFIG, MODEL)


def sample(policy, temperature, step=0):
    prompt = render(Task("1", QUESTION), policy.tokenizer, CONFIG)
    request = Request(SAMPLES, TOKENS, Sampling(temperature), seed=1, step=step)
    return next(group for _, group in generate(policy, [prompt], request))


@pytest.fixture(scope="module")
def trained(policy, tmp_path_factory):
    """Two steps, with what there was before and the metrics of each."""
    policy.freeze_reference()
    learner = Learner(policy, CONFIG)
    before = {name: np.array(leaf) for name, leaf in tree_flatten(policy.model.parameters())}
    advantages = [[1.0 if sample % 4 == 0 else -1 / 3 for sample in range(SAMPLES)]]
    metrics = [learner.learn([sample(policy, CONFIG.temperature, step)], advantages, step) for step in range(2)]
    folder = tmp_path_factory.mktemp("adapter")
    policy.save_adapter(folder)
    return SimpleNamespace(before=before, metrics=metrics, folder=folder)


def test_the_chat_template_gives_one_bos(policy):
    prompt = render(Task("1", QUESTION), policy.tokenizer, CONFIG)
    assert prompt.tokens.count(policy.tokenizer.bos_token_id) == prompt.text.count("<|im_start|>")
    assert prompt.text.startswith("<|im_start|>") and prompt.text.endswith("<|im_start|>assistant\n")
    assert policy.tokenizer.decode(list(prompt.tokens)) == prompt.text
    ids = policy.tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], add_generation_prompt=True)
    assert list(prompt.tokens) == list(ids)  # as the tokenizer itself would have it


def test_prompts_are_shared(policy):
    assert policy.shares_prefixes and policy.head is not None


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_sampler_and_policy_logprobs_agree(policy, temperature):
    group = sample(policy, temperature)
    rows = rows_of([group.prompt.tokens], [rollout.tokens for rollout in group.rollouts])
    scored = np.array(completion_logprobs(policy, rows, temperature=temperature, chunk_tokens=128))
    differences = [
        np.abs(np.array(rollout.logprobs) - row[: len(rollout.tokens)])
        for rollout, row in zip(group.rollouts, scored, strict=True)
    ]
    assert np.concatenate(differences).mean() < 1e-4
    assert len({rollout.tokens for rollout in group.rollouts}) > 1


def test_at_step_0_kl_is_exactly_0_and_later_it_is_not(trained):
    first, second = trained.metrics
    assert first["kl"] == 0.0 and second["kl"] > 0
    assert first["sampling/sampling_logp_difference/mean"] < 1e-4
    assert first["grad_norm"] > 0


def test_after_two_steps_every_adapter_leaf_has_moved_and_the_base_has_not(policy, trained):
    after = {name: np.array(leaf) for name, leaf in tree_flatten(policy.model.parameters())}
    moved = {name for name, leaf in after.items() if (leaf != trained.before[name]).any()}
    assert moved == set(policy.trainable())


def test_the_adapter_loads_in_mlx_lm(policy, trained):
    from mlx_lm import load

    model = load(MODEL, adapter_path=str(trained.folder))[0]
    model.set_dtype(mx.float32)
    tokens = mx.array([list(render(Task("1", QUESTION), policy.tokenizer, CONFIG).tokens)])
    expected, found = np.array(policy.model(tokens)), np.array(model(tokens))
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    assert {path.name for path in Path(trained.folder).iterdir()} == {"adapters.safetensors", "adapter_config.json"}


def test_a_step_on_the_plain_path_is_the_same(tmp_path):
    """One step of the command with grpo/cpu and without."""
    metrics = {}
    for plain in ("0", "1"):
        settings = {
            "model": MODEL,
            "data": "arithmetic",
            "steps": 1,
            "eval_every": 0,
            "prompts_per_step": 1,
            "num_generations": 4,
            "max_completion_length": TOKENS,
            "dtype": "float32",
        }
        done = subprocess.run(
            [sys.executable, "-m", "grpo.train", "--output", str(tmp_path / plain)]
            + [f"{key}={value}" for key, value in settings.items()],
            env={**os.environ, "GRPO_PLAIN": plain},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        metrics[plain] = json.loads((tmp_path / plain / "metrics.jsonl").read_text())
    for name in ("reward", "entropy", "completions/mean_length", "grad_norm"):
        assert metrics["1"][name] == pytest.approx(metrics["0"][name], rel=1e-2, abs=1e-5), name
