"""Coefficients that a run adapts."""

import pytest

from grpo.learner.controls import Controls


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
