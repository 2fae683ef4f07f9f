"""The teaching file runs, learns, and has the trainer's advantages and loss."""

import importlib.util
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from grpo.advantages import group_advantages
from grpo.learner.learner import Learner
from grpo.losses import policy_loss

FILE = Path(__file__).parents[2] / "docs" / "minimal_grpo.py"
CLIP, BETA = 0.2, 0.04
PROMPT = [11, 12, 13, 14]
COMPLETIONS = [[41, 42, 43, 44, 45, 46, 2], [51], [52, 53, 2], [54, 55, 56, 57, 58]]
REWARDS = [1.0, 0.0, 0.25, 0.5]


@pytest.fixture(scope="module")
def minimal():
    spec = importlib.util.spec_from_file_location("minimal_grpo", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_learns_and_says_so(minimal, capsys):
    rewards = minimal.train(steps=41)
    assert rewards[0] < 0.3  # 1 in 11 by chance
    assert np.mean(rewards[-5:]) > 0.7
    assert "step 40  reward" in capsys.readouterr().out


def test_advantages_are_those_of_the_package(minimal):
    rewards = mx.array([REWARDS, [1.0, 0.0, 0.0, 0.0], [0.5] * 4])
    expected = group_advantages(rewards)
    np.testing.assert_allclose(np.array(minimal.group_advantages(rewards)), np.array(expected), atol=1e-5)


def test_loss_and_gradient_are_those_of_policy_loss(minimal):
    rng = np.random.default_rng(0)
    policy, sampler, reference = (mx.array(rng.normal(-2.0, 0.5, (4, 7)).astype(np.float32)) for _ in range(3))
    advantages = minimal.group_advantages(mx.array([REWARDS]))[0]
    mask = mx.array([[1.0] * len(row) + [0.0] * (7 - len(row)) for row in COMPLETIONS])

    def ours(policy):
        return minimal.grpo_loss(policy, sampler, reference, advantages, mask, clip=CLIP, beta=BETA)

    def packages(policy):
        options = {"loss_type": "grpo", "clip_low": CLIP, "clip_high": CLIP, "beta": BETA}
        return policy_loss(policy, sampler, advantages, mask, reference_logprobs=reference, **options)

    (loss, gradient), (expected, expected_gradient) = (mx.value_and_grad(f)(policy) for f in (ours, packages))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    np.testing.assert_allclose(np.array(gradient), np.array(expected_gradient), atol=1e-5)


def test_loss_is_that_of_the_trainer(minimal, tiny, whole_rows):
    config = tiny.config(prompts_per_step=1, loss_type="grpo", epsilon=CLIP, beta=BETA, temperature=1.0)
    policy = tiny.policy()
    policy.freeze_reference()
    reference = [whole_rows.logprobs(policy.model, PROMPT, row) for row in COMPLETIONS]
    mx.eval(reference)
    # the policy is moved off the reference and off the sampler, so that neither k3 nor the clip is idle
    rng = np.random.default_rng(0)
    policy.model.model.norm.weight = policy.model.model.norm.weight * 1.1
    sampler = [
        np.array(whole_rows.logprobs(policy.model, PROMPT, row)) + rng.normal(0, 0.4, len(row)) for row in COMPLETIONS
    ]
    advantages = minimal.group_advantages(mx.array([REWARDS]))

    learner, seen = Learner(policy, config), []
    learner.optimizer.apply = lambda gradient, loss, step: (seen.append(loss), (0.0, True))[1]
    group = tiny.group(PROMPT, COMPLETIONS)
    rollouts = tuple(tiny.rollout(row, logprobs.tolist()) for row, logprobs in zip(COMPLETIONS, sampler, strict=True))
    learner.learn([type(group)(group.prompt, rollouts)], advantages.tolist(), 0)

    width = max(map(len, COMPLETIONS))
    prompts = mx.array([PROMPT] * len(COMPLETIONS))
    completions = mx.array([row + [0] * (width - len(row)) for row in COMPLETIONS])  # [batch, time]
    loss = minimal.grpo_loss(
        minimal.completion_logprobs(policy.model, prompts, completions),
        *(padded(rows, width) for rows in (sampler, reference)),
        advantages[0],
        padded([[1.0] * len(row) for row in COMPLETIONS], width),
        clip=CLIP,
        beta=BETA,
    )
    assert abs(loss.item()) > 1e-3  # something to agree on
    assert seen == [pytest.approx(loss.item(), abs=1e-5)]


def padded(rows, width):
    """Rows of different lengths as [batch, width], 0 behind the last."""
    return mx.array([[*np.array(row).tolist(), *[0.0] * (width - len(row))] for row in rows])
