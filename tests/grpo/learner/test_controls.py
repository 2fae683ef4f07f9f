"""Coefficients that a run adapts."""

import math
from dataclasses import replace

import pytest

from grpo.learner.controls import Controls
from grpo.learner.learner import Learner
from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling


def test_beta_answers_to_a_fifth_of_the_error_at_most(tiny):
    config = tiny.config(beta=0.1, kl_target=0.01, kl_horizon=10)
    start = Controls.of(config)
    assert start.after(config, kl=0.011, entropy=0).beta == pytest.approx(0.1 * (1 + 0.1 / 10))
    assert start.after(config, kl=9.0, entropy=0).beta == pytest.approx(0.1 * (1 + 0.2 / 10))
    assert start.after(config, kl=0.0, entropy=0).beta == pytest.approx(0.1 * (1 - 0.2 / 10))
    assert start.after(config, kl=9.0, entropy=0).applied(config).beta == pytest.approx(0.102)


def test_the_entropy_bonus_rises_below_its_target_and_is_off_above(tiny):
    config = tiny.config(use_adaptive_entropy=True, entropy_target=1.0, entropy_coef_delta=0.1, entropy_coef_max=0.15)
    low = Controls.of(config).after(config, kl=0, entropy=0.5)
    assert low.applied(config).entropy_coef == pytest.approx(0.1)
    assert low.after(config, kl=0, entropy=0.5).entropy_coef == pytest.approx(0.15)
    high = low.after(config, kl=0, entropy=2.0)
    assert high.entropy_coef == pytest.approx(0.0) and high.applied(config).entropy_coef == 0.0


def test_without_adapting_the_config_stays_the_same_object(tiny):
    config = tiny.config(beta=0.1, entropy_coef=0.2)
    assert Controls.of(config).after(config, kl=9, entropy=9).applied(config) is config


def test_weights_are_switched_on_by_what_was_measured_alone(tiny):
    config = tiny.config()
    start = Controls.of(config)
    assert start.asks_mismatch(config) and start.applied(config).sampling_cap is None
    near, far = replace(start, mismatch=9e-4), replace(start, mismatch=1.1e-3)
    assert not near.asks_mismatch(config) and near.applied(config) is config
    assert far.applied(config).sampling_cap == 2.0
    assert far.after(config, kl=0.0, entropy=0.0).applied(config).sampling_cap == 2.0
    assert replace(start, mismatch=math.nan).disagree
    for chosen in (None, 3.0):
        own = tiny.config(importance_sampling_cap=chosen)
        assert not start.asks_mismatch(own) and far.applied(own).sampling_cap == chosen


def sampled(tiny, policy, **keys):
    request = Request(4, 12, Sampling(1.0), seed=0, **keys)
    return [group for _, group in sorted(generate(policy, tiny.prompts([9, 5]), request), key=lambda pair: pair[0])]


def test_a_quantised_cache_is_found_and_corrected(tiny):
    policy = tiny.policy(fine_tune="lora", adapter_noise=0.3, head_dim=32)
    config, advantages = tiny.config(fine_tune="lora", beta=0.0), [[1.0, -1.0, 0.5, -0.5]] * 2
    exact, rough = Learner(policy, config), Learner(policy, config)
    assert exact.compare_with_sampler(sampled(tiny, policy)) is None
    assert exact.controls.mismatch < 1e-6
    said = rough.compare_with_sampler(sampled(tiny, policy, kv_bits=4))
    assert "sampler and trainer disagree" in said and "importance_sampling_cap" in said
    assert rough.compare_with_sampler(sampled(tiny, policy, kv_bits=4)) is None  # once a run
    metrics = rough.learn(sampled(tiny, policy, kv_bits=4), advantages, 0)
    assert metrics["sampling/importance_weight"] != 1.0
    assert "sampling/importance_weight" not in exact.learn(sampled(tiny, policy), advantages, 0)
