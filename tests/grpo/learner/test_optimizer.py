"""AdamW's arithmetic, its schedule, and a state that goes on where it stopped."""

import math

import mlx.core as mx
import numpy as np
import pytest

from grpo.learner.optimizer import Optimizer, learning_rate

NAME = "model.norm.weight"


def zeros(policy):
    return {name: mx.zeros_like(leaf) for name, leaf in policy.trainable().items()}


def gradient(policy, first, second):
    """0 but for the first two entries of one leaf."""
    leaf = mx.zeros((32,))
    leaf[0], leaf[1] = first, second
    return {**zeros(policy), NAME: leaf}


def random_gradient(policy, seed):
    mx.random.seed(seed)
    return {name: mx.random.normal(leaf.shape) for name, leaf in policy.trainable().items()}


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.25),  # warm-up over 4 steps: 1/4, 2/4, 3/4, 4/4
        (3, 1.0),
        (4, 1.0),  # then down over the 8 steps that are left
        (8, 0.55),  # half way between 1 and 0.1
        (12, 0.1),
        (99, 0.1),
    ],
)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])  # both are half way in the middle
def test_schedule(tiny, schedule, step, rate):
    config = tiny.config(learning_rate=1.0, warmup_steps=4, steps=12, lr_schedule=schedule, min_learning_rate=0.1)
    assert learning_rate(config, step) == pytest.approx(rate)


def test_cosine_is_above_linear_at_first(tiny):
    # a quarter of the way: (1 + cos(pi / 4)) / 2 = 0.854, linear 0.75
    settings = {"learning_rate": 1.0, "steps": 8}
    assert learning_rate(tiny.config(lr_schedule="cosine", **settings), 2) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert learning_rate(tiny.config(lr_schedule="linear", **settings), 2) == pytest.approx(0.75)
    assert learning_rate(tiny.config(lr_schedule="constant", **settings), 7) == 1.0


def test_the_first_update_is_the_learning_rate_in_size(tiny):
    # bias-corrected m / sqrt(v) = g / |g| at the first step
    policy = tiny.policy()
    before = np.array(policy.trainable()[NAME])
    norm, applied = Optimizer(policy, tiny.config(learning_rate=0.01)).apply(gradient(policy, 0.3, -0.4), 1.0, 0)
    assert (norm, applied) == (pytest.approx(0.5), True)  # sqrt(0.09 + 0.16)
    change = np.array(policy.trainable()[NAME]) - before
    assert change[:3].tolist() == pytest.approx([-0.01, 0.01, 0.0], abs=1e-6)


def test_weight_decay_pulls_on_every_weight(tiny):
    # decoupled: w (1 - rate * decay) where the gradient is 0
    policy = tiny.policy()
    before = np.array(policy.trainable()[NAME])
    Optimizer(policy, tiny.config(learning_rate=0.01, weight_decay=0.5)).apply(zeros(policy), 1.0, 0)
    np.testing.assert_allclose(np.array(policy.trainable()[NAME]), before * 0.995, rtol=1e-6)


def test_the_gradient_is_scaled_down_to_the_largest_norm_and_never_up(tiny):
    # (3, 4) has norm 5; scaled to 1: (0.6, 0.8); the first moment is (1 - 0.9) times that
    for sizes, moment in (((3.0, 4.0), (0.06, 0.08)), ((0.3, 0.4), (0.03, 0.04))):
        policy = tiny.policy()
        optimizer = Optimizer(policy, tiny.config(max_grad_norm=1.0))
        norm, _ = optimizer.apply(gradient(policy, *sizes), 1.0, 0)
        assert norm == pytest.approx(math.hypot(*sizes))  # what is reported is the norm before
        assert optimizer.state()[f"{NAME}.m"][:2].tolist() == pytest.approx(moment, rel=1e-4)


def test_every_update_is_adamw_s_in_float64_at_its_step_s_rate(tiny):
    policy = tiny.policy()
    config = tiny.config(learning_rate=0.05, warmup_steps=2, steps=5, lr_schedule="linear", weight_decay=0.1)
    optimizer, (b1, b2) = Optimizer(policy, config), config.adam_betas
    weights = {name: np.array(leaf, np.float64) for name, leaf in policy.trainable().items()}
    moments = {name: (0.0, 0.0) for name in weights}
    for step in range(5):
        given, rate = random_gradient(policy, step), learning_rate(config, step)
        norm, _ = optimizer.apply(given, 1.0, step)
        for name, weight in weights.items():
            g = np.array(given[name], np.float64) * config.max_grad_norm / (norm + 1e-6)
            m, v = b1 * moments[name][0] + (1 - b1) * g, b2 * moments[name][1] + (1 - b2) * g**2
            moments[name] = (m, v)
            first, second = m / (1 - b1 ** (step + 1)), v / (1 - b2 ** (step + 1))
            weights[name] = weight * (1 - rate * 0.1) - rate * first / (np.sqrt(second) + 1e-8)
    for name, leaf in policy.trainable().items():
        np.testing.assert_allclose(np.array(leaf), weights[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "loss"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, -math.inf)])
def test_what_is_not_finite_leaves_weights_and_moments_alone(tiny, size, loss):
    policy = tiny.policy()
    optimizer = Optimizer(policy, tiny.config())
    optimizer.apply(random_gradient(policy, 0), 1.0, 0)
    before = {name: np.array(leaf) for name, leaf in {**policy.trainable(), **optimizer.state()}.items()}
    assert optimizer.apply(gradient(policy, size, 0.0), loss, 1)[1] is False
    after = {**policy.trainable(), **optimizer.state()}
    assert all((before[name] == np.array(leaf)).all() for name, leaf in after.items())
    assert optimizer.bad_updates == 1


@pytest.mark.parametrize("settings", [{}, {"fine_tune": "lora"}, {"fine_tune": "lora", "blocks": 1}])
def test_a_loaded_state_goes_on_with_the_same_bits(tiny, tmp_path, settings):
    config = tiny.config(learning_rate=0.01, weight_decay=0.1, warmup_steps=2, lr_schedule="cosine", steps=6)
    policy = tiny.policy(**settings)
    optimizer = Optimizer(policy, config)
    for step in range(3):
        optimizer.apply(random_gradient(policy, step), 1.0, step)
    mx.save_safetensors(str(tmp_path / "o.safetensors"), optimizer.state())
    saved = policy.trainable()
    for step in range(3, 6):
        optimizer.apply(random_gradient(policy, step), 1.0, step)
    expected = {**policy.trainable(), **optimizer.state()}

    again = tiny.policy(**settings)
    again.load_trainable(saved)
    resumed = Optimizer(again, config)
    resumed.load_state(dict(mx.load(str(tmp_path / "o.safetensors"))))
    for step in range(3, 6):
        resumed.apply(random_gradient(again, step), 1.0, step)
    found = {**again.trainable(), **resumed.state()}
    assert found.keys() == expected.keys()
    assert [name for name in expected if not mx.array_equal(found[name], expected[name])] == []


def test_cycles_start_again_from_the_peak(tiny):
    # two ways down of 4 steps each: 1, 0.75, 0.5, 0.25
    config = tiny.config(learning_rate=1.0, steps=8, lr_schedule="linear", lr_cycles=2)
    assert [learning_rate(config, step) for step in range(8)] == pytest.approx([1, 0.75, 0.5, 0.25] * 2)


def test_adapters_b_has_a_rate_of_its_own(tiny):
    policy = tiny.policy(fine_tune="lora", adapter_noise=0.1)
    before = {name: np.array(leaf) for name, leaf in policy.trainable().items()}
    ones = {name: mx.ones(leaf.shape) for name, leaf in policy.trainable().items()}
    config = tiny.config(learning_rate=0.01, lora_plus_ratio=3.0, max_grad_norm=1e9)
    Optimizer(policy, config).apply(ones, 1.0, 0)
    for name, leaf in policy.trainable().items():  # the first step of AdamW is the rate in size
        rate = 0.03 if name.endswith("lora_b") else 0.01
        np.testing.assert_allclose(before[name] - np.array(leaf), rate, rtol=1e-3)


def test_muon_orthogonalises_matrices_and_leaves_the_rest_to_adamw(tiny):
    policy = tiny.policy()
    before = {name: np.array(leaf) for name, leaf in policy.trainable().items()}
    config = tiny.config(learning_rate=0.01, optimizer="muon", max_grad_norm=1e9)
    Optimizer(policy, config).apply(random_gradient(policy, 0), 1.0, 0)
    moved = {name: before[name] - np.array(leaf) for name, leaf in policy.trainable().items()}
    square = moved["model.layers.0.self_attn.q_proj.weight"] / 0.01
    singular = np.linalg.svd(square, compute_uv=False)
    assert singular.min() > 0.5 and singular.max() < 1.5  # five Newton-Schulz steps: near 1, all of them
    for name in ("model.norm.weight", "model.embed_tokens.weight"):
        np.testing.assert_allclose(np.abs(moved[name]), 0.01, rtol=1e-2)
