"""One step, from groups to changed weights.

Its loss and gradient against an oracle that runs every row whole and alone, without any of the machinery.
"""

import math
from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from grpo.cpu import switch
from grpo.cpu.lanes import lanes
from grpo.learner import batching
from grpo.learner import gradients as gradients_module
from grpo.learner.batching import pack
from grpo.learner.learner import Learner
from grpo.reduce import StepCounts
from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling
from grpo.runs.interrupt import TrainingFailed
from grpo.types import Segment

LOSSES = ["grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo"]
COMPLETIONS = [
    [[41, 42, 43, 44, 45, 46, 2], [51], [52, 53, 2], [54, 55, 56, 57, 58]],
    [[41, 9, 9, 3], [52, 53, 54, 55, 56, 57, 58, 59], [5], [43, 44]],
]
PROMPTS = [[11, 12, 13, 14, 15, 16], [21, 22]]
ADVANTAGES = [[1.5, -0.5, -0.5, -0.5], [0.9, -0.9, 0.0, 0.4]]


def made_up_groups(tiny):
    """Sampler logprobs near those of a uniform policy, so that ratios fall inside and outside the clip range."""
    rng = np.random.default_rng(0)
    return [
        type(group)(
            group.prompt,
            tuple(tiny.rollout(r.tokens, rng.normal(-4.1, 1.0, len(r.tokens)).tolist()) for r in group.rollouts),
        )
        for group in (tiny.group(prompt, rows) for prompt, rows in zip(PROMPTS, COMPLETIONS, strict=True))
    ]


def sampled_groups(policy, tiny, config, step=0):
    request = Request(
        config.num_generations, config.max_completion_length, Sampling(config.temperature), config.seed, step=step
    )
    prompts = tiny.prompts([7, 3, 5, 4][: config.prompts_per_step])
    return [group for _, group in sorted(generate(policy, prompts, request), key=lambda pair: pair[0])]


def learner_of(policy, config):
    policy.freeze_reference()
    return Learner(policy, config)


def captured(policy, config, groups, advantages):
    """(loss, gradient) that the optimizer would get; nothing is updated."""
    learner, seen = learner_of(policy, config), []
    learner.optimizer.apply = lambda gradient, loss, step: (seen.append((loss, gradient)), (0.0, True))[1]
    learner.learn(groups, advantages, 0)
    return seen


def assert_same(first, second, relative):
    (loss, gradient), (other_loss, other) = first, second
    assert loss == pytest.approx(other_loss, rel=relative, abs=1e-6)  # about 0 where all ratios are 1
    assert gradient.keys() == other.keys()
    for name in gradient:
        scale = max(np.abs(np.array(other[name])).max(), 1e-4)
        np.testing.assert_allclose(
            np.array(gradient[name]), np.array(other[name]), rtol=0, atol=relative * scale, err_msg=name
        )


def oracle(policy, whole_rows, config, groups, advantages, left_out=()):
    """Loss and gradient of one update as its formula reads (grpo and dapo), each row alone with its prompt in front."""
    rows = [
        (group.prompt.tokens, rollout, advantage)
        for g, group in enumerate(groups)
        for i, (rollout, advantage) in enumerate(zip(group.rollouts, advantages[g], strict=True))
        if (g, i) not in left_out
    ]
    start = [
        mx.stop_gradient(whole_rows.logprobs(policy.model, prompt, rollout.tokens, config.temperature))
        for prompt, rollout, _ in rows
    ]
    mx.eval(start)

    def loss(_):
        total = []
        for (prompt, rollout, advantage), reference in zip(rows, start, strict=True):
            logprobs = whole_rows.logprobs(policy.model, prompt, rollout.tokens, config.temperature)
            ratio = mx.exp(logprobs - mx.array(rollout.logprobs))
            surrogate = mx.minimum(
                ratio * advantage, mx.clip(ratio, 1 - config.epsilon, 1 + config.clip_high) * advantage
            )
            away = reference - logprobs
            losses = -surrogate + config.beta * (mx.exp(away) - away - 1)
            losses = losses[mx.array(rollout.trained(list(range(len(rollout.tokens)))))]
            total.append(losses.mean() / len(rows) if config.loss_type == "grpo" else losses.sum())
        return sum(total) / (1 if config.loss_type == "grpo" else sum(r.trained_tokens for _, r, _ in rows))

    value, gradient = nn.value_and_grad(policy.model, loss)({})
    return value.item(), dict(tree_flatten(gradient))


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
@pytest.mark.parametrize("shares", [True, False])
def test_loss_and_gradient_are_those_of_whole_rows(tiny, whole_rows, loss_type, shares):
    policy, groups = tiny.policy(shares=shares), made_up_groups(tiny)
    config = tiny.config(loss_type=loss_type, beta=0.1, temperature=0.7, logits_chunk=5)
    (mine,) = captured(policy, config, groups, ADVANTAGES)
    assert_same(mine, oracle(policy, whole_rows, config, groups, ADVANTAGES), 1e-5)


def with_holes(groups):
    """Every third token of a row, but never its first, is an environment's."""
    return [
        replace(
            group,
            rollouts=tuple(
                replace(r, mask=tuple(int(t % 3 != 1) for t in range(len(r.tokens)))) for r in group.rollouts
            ),
        )
        for group in groups
    ]


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("token_budget", [10_000, 20])
def test_with_holes_loss_and_gradient_are_those_of_whole_rows(tiny, whole_rows, loss_type, shares, token_budget):
    policy, groups = tiny.policy(shares=shares), with_holes(made_up_groups(tiny))
    config = tiny.config(loss_type=loss_type, beta=0.1, logits_chunk=5, token_budget=token_budget)
    (mine,) = captured(policy, config, groups, ADVANTAGES)
    assert_same(mine, oracle(policy, whole_rows, config, groups, ADVANTAGES), 1e-5)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_nothing_of_an_environments_token_but_the_context_reaches_the_gradient(tiny, loss_type):
    # logprobs and credit in the mask's shadow, NaN included, change not a bit
    policy, groups = tiny.policy(), with_holes(made_up_groups(tiny))
    config = tiny.config(loss_type=loss_type, beta=0.1, epsilon_high=5.0 if loss_type == "cispo" else 0.3)
    pairs = list(zip(ADVANTAGES, rollouts(groups), strict=True))
    credit = [[(a,) * len(r.tokens) for a, r in zip(*pair, strict=True)] for pair in pairs]
    shadow = [
        replace(g, rollouts=tuple(replace(r, logprobs=hidden(r, r.logprobs)) for r in g.rollouts)) for g in groups
    ]
    shadow_credit = [
        [hidden(r, c) for c, r in zip(*one, strict=True)] for one in zip(credit, rollouts(groups), strict=True)
    ]
    (seen,), (other,) = captured(policy, config, groups, credit), captured(policy, config, shadow, shadow_credit)
    assert other[0] == seen[0]
    assert all(mx.array_equal(other[1][name], seen[1][name]).item() for name in seen[1])
    assert any(leaf.any().item() for leaf in seen[1].values())


def rollouts(groups):
    return [group.rollouts for group in groups]


def hidden(rollout, values):
    return tuple(value if mine else math.nan for value, mine in zip(values, rollout.mask, strict=True))


def test_metrics_of_an_update_count_the_models_tokens_alone(tiny):
    policy, groups = tiny.policy(), with_holes(made_up_groups(tiny))
    learner, seen = learner_of(policy, tiny.config(beta=0.1)), []
    scored = learner.gradients.loss_and_gradient
    learner.gradients.loss_and_gradient = lambda *a: (seen.append(scored(*a)), seen[-1])[1]
    learner.learn(groups, ADVANTAGES, 0)
    assert sum(one.sums["tokens"] for one in seen) == sum(r.trained_tokens for g in groups for r in g.rollouts)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_the_gradient_is_the_same_for_any_token_budget(tiny, loss_type):
    policy, groups = tiny.policy(), made_up_groups(tiny)
    settings = {"loss_type": loss_type, "beta": 0.1, "epsilon_high": 5.0 if loss_type == "cispo" else 0.3}
    whole, by_few, by_one = (
        captured(policy, tiny.config(token_budget=budget, **settings), groups, ADVANTAGES)[0]
        for budget in (10_000, 24, 1)
    )
    assert_same(by_few, whole, 1e-5)
    assert_same(by_one, whole, 1e-5)
    assert any(leaf.any().item() for leaf in whole[1].values())


def test_the_gradient_of_adapters_is_the_same_for_any_token_budget(tiny, whole_rows):
    policy, groups = tiny.policy("qwen2", fine_tune="lora", adapter_noise=0.2), made_up_groups(tiny)
    config = tiny.config(beta=0.1)
    (whole,), (cut,) = (
        captured(policy, tiny.config(beta=0.1, token_budget=budget), groups, ADVANTAGES) for budget in (10_000, 20)
    )
    assert_same(cut, whole, 1e-5)
    assert_same(whole, oracle(policy, whole_rows, config, groups, ADVANTAGES), 1e-5)


RECOMPUTED = {
    "full": {},
    "biases": {"kind": "qwen2"},
    "window": {"kind": "window"},
    "adapters": {"fine_tune": "lora", "adapter_noise": 0.2},
    "adapters of one block": {"fine_tune": "lora", "adapter_noise": 0.2, "blocks": 1},
    "quantised base": {"fine_tune": "lora", "adapter_noise": 0.2, "quantise": True},
    "prompt in every row": {"shares": False},
    "attention of its own": {"kind": "gemma2"},
}


@pytest.mark.parametrize("settings", RECOMPUTED.values(), ids=RECOMPUTED.keys())
def test_blocks_made_again_in_the_backward_pass_change_nothing(tiny, settings):
    groups, config = made_up_groups(tiny), tiny.config(beta=0.1)
    (kept,), (again,) = (
        captured(tiny.policy(recompute=recompute, **settings), config, groups, ADVANTAGES)
        for recompute in (False, True)
    )
    assert_same(again, kept, 1e-5)


def test_blocks_are_really_made_again(tiny, monkeypatch):
    import mlx_lm.models.llama as llama

    calls = []
    plain = llama.Attention.__call__
    monkeypatch.setattr(llama.Attention, "__call__", lambda *a, **k: (calls.append(1), plain(*a, **k))[1])
    counts = []
    for recompute in (False, True):
        policy = tiny.policy(recompute=recompute)
        calls.clear()
        captured(policy, tiny.config(beta=0.0), made_up_groups(tiny), ADVANTAGES)
        counts.append(len(calls))
    assert counts[1] > counts[0] > 0


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_rows_of_advantage_zero_count_in_the_denominator(tiny, whole_rows, beta):
    # without a KL term they are not run at all, yet the mean stays one over all eight rows
    policy, groups, config = tiny.policy(), made_up_groups(tiny), tiny.config(beta=beta)
    advantages = [[0.0] * 4, ADVANTAGES[1]]
    (mine,) = captured(policy, config, groups, advantages)
    assert_same(mine, oracle(policy, whole_rows, config, groups, advantages), 1e-5)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_masked_truncated_rows_change_nothing(tiny, whole_rows, loss_type):
    # rows without a stop token: the second and last of the first group; the second and last of the other
    policy, groups = tiny.policy(), made_up_groups(tiny)
    config = tiny.config(loss_type=loss_type, beta=0.1, mask_truncated_completions=True)
    (mine,) = captured(policy, config, groups, ADVANTAGES)
    left_out = {(0, 1), (0, 3), (1, 1), (1, 3)}
    assert_same(mine, oracle(policy, whole_rows, config, groups, ADVANTAGES, left_out), 1e-5)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_a_longer_neighbour_does_not_change_a_row(tiny, loss_type):
    # trap 24; the neighbour's advantage is 0, so that all it could do is to make the rows of others longer
    learner = learner_of(tiny.policy(), tiny.config(loss_type=loss_type, beta=0.0, epsilon_high=5.0))
    rows, found = [(41, 42, 2), (51, 52, 53, 54)], []
    for neighbour in ((43,), (43,) * 11):
        completions = (*rows, neighbour)
        sampler = tuple((-4.0,) * len(row) for row in completions)
        segment = Segment(((11, 12, 13),), completions, sampler, (1.0, -0.5, 0.0))
        scored = learner.gradients.loss_and_gradient([segment], StepCounts(3, 3))
        found.append((scored.loss, scored.gradient))
    assert_same(found[1], found[0], 1e-5)
    assert any(leaf.any().item() for leaf in found[0][1].values())


def test_a_stop_token_that_is_also_the_padding_is_trained(tiny, whole_rows):
    # completions are padded with 0; here 0 ends them, and the first one is nothing but it (trap 5)
    policy, config = tiny.policy(), tiny.config(beta=0.0, mask_truncated_completions=False)
    groups = [tiny.group([11, 12], [[0], [41, 42, 0]]), tiny.group([21], [[51, 0], [0]])]
    only_stop = [[1.0, 0.0], [0.0, 0.0]]
    (mine,) = captured(policy, config, groups, only_stop)
    assert_same(mine, oracle(policy, whole_rows, config, groups, only_stop), 1e-5)
    assert any(leaf.any().item() for leaf in mine[1].values())


STARTS = {
    "fresh adapter": {"fine_tune": "lora"},
    "trained adapter": {"fine_tune": "lora", "adapter_noise": 0.2},
    "full": {"fine_tune": "full"},
    "quantised base": {"fine_tune": "lora", "quantise": True},
    "quantised base, trained adapter": {"fine_tune": "lora", "adapter_noise": 0.2, "quantise": True},
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_at_step_0_kl_is_exactly_0_and_the_sampler_is_the_policy(tiny, start, temperature):
    policy, config = tiny.policy(**STARTS[start]), tiny.config(beta=0.1, temperature=temperature)
    metrics = learner_of(policy, config).learn(sampled_groups(policy, tiny, config), ADVANTAGES, 0)
    assert metrics["kl"] <= (0.0 if switch.serves() else 1e-11)  # MLX's own: a BLAS may round two products apart
    assert metrics["sampling/sampling_logp_difference/mean"] < 1e-5
    assert metrics["sampling/mismatch_k3"] < 1e-8
    assert metrics["clip_ratio/region_mean"] == 0.0
    assert metrics["grad_norm"] > 0


@pytest.mark.parametrize("start", STARTS)
def test_the_reference_is_the_start_of_the_run(tiny, whole_rows, start):
    policy, config = tiny.policy(**STARTS[start]), tiny.config(beta=0.1, learning_rate=0.01, temperature=0.7)
    groups = sampled_groups(policy, tiny, config)
    rows = [(group.prompt.tokens, rollout.tokens) for group in groups for rollout in group.rollouts]

    def logprobs():
        return np.concatenate([np.array(whole_rows.logprobs(policy.model, *row, 0.7)) for row in rows])

    reference = logprobs()
    learner = learner_of(policy, config)
    learner.learn(groups, ADVANTAGES, 0)
    away = reference - logprobs()
    expected = (np.exp(away) - away - 1).mean()  # k3 over all tokens, of the policy before the second update
    assert learner.learn(groups, ADVANTAGES, 1)["kl"] == pytest.approx(expected, rel=1e-3)
    assert expected > 1e-5


@pytest.mark.parametrize("start", STARTS)
def test_every_trained_leaf_moves_and_the_base_does_not(tiny, start):
    policy, config = tiny.policy(**STARTS[start]), tiny.config(learning_rate=0.01)
    learner = learner_of(policy, config)
    before = {name: np.array(leaf) for name, leaf in tree_flatten(policy.model.parameters())}
    trained = policy.trainable().keys()
    for step in range(2):
        learner.learn(sampled_groups(policy, tiny, config, step), ADVANTAGES, step)
    after = {name: np.array(leaf) for name, leaf in tree_flatten(policy.model.parameters())}
    assert before.keys() == after.keys()
    moved = {name for name in before if (before[name] != after[name]).any()}
    assert moved == set(trained)


def test_a_first_step_moves_lora_b_only(tiny):
    # lora_b = 0 makes the gradient of lora_a 0 at the first step; two steps are what it takes
    policy, config = tiny.policy(fine_tune="lora"), tiny.config(beta=0.0)
    (found,) = captured(policy, config, sampled_groups(policy, tiny, config), ADVANTAGES)
    assert {name.rsplit(".", 1)[-1] for name, leaf in found[1].items() if leaf.any().item()} == {"lora_b"}


def test_all_truncated_and_masked_is_no_update(tiny):
    policy, config = tiny.policy(), tiny.config(beta=0.1, mask_truncated_completions=True)
    groups = [tiny.group([11, 12], [[41, 42]] * 4), tiny.group([21], [[51], [52, 53], [54], [55]])]
    before = {name: np.array(leaf) for name, leaf in policy.trainable().items()}
    metrics = learner_of(policy, config).learn(groups, ADVANTAGES, 0)
    assert all(math.isfinite(value) for value in metrics.values())
    assert (metrics["loss"], metrics["grad_norm"], metrics["updates/skipped"]) == (0.0, 0.0, 1)
    assert all((before[name] == np.array(leaf)).all() for name, leaf in policy.trainable().items())


def test_equal_rewards_without_kl_are_no_update(tiny):
    policy, config = tiny.policy(), tiny.config(beta=0.0)
    metrics = learner_of(policy, config).learn(made_up_groups(tiny), [[0.0] * 4] * 2, 0)
    assert (metrics["updates/skipped"], metrics["grad_norm"]) == (1, 0.0)
    assert "kl" not in metrics


def test_no_reference_is_run_without_kl(tiny, monkeypatch):
    policy, config = tiny.policy(), tiny.config(beta=0.0)
    learner = learner_of(policy, config)
    monkeypatch.setattr(policy, "as_reference", lambda: pytest.fail("the reference was run"))
    assert learner.learn(made_up_groups(tiny), ADVANTAGES, 0)["grad_norm"] > 0


def test_later_updates_see_the_policy_that_has_moved(tiny):
    # two halves, gone through twice: four updates, the first alone at ratio 1
    policy, config = tiny.policy(), tiny.config(num_updates=2, num_iterations=2, learning_rate=0.02, beta=0.0)
    metrics = learner_of(policy, config).learn(sampled_groups(policy, tiny, config), ADVANTAGES, 0)
    assert metrics["sampling/mismatch_k3"] > 1e-4
    assert metrics["clip_ratio/region_mean"] > 0
    assert metrics["clip_ratio/region_mean"] == pytest.approx(
        metrics["clip_ratio/low_mean"] + metrics["clip_ratio/high_mean"]
    )


def test_each_update_takes_its_share_and_the_ratio_is_to_the_sampler(tiny, whole_rows):
    policy = tiny.policy()
    config = tiny.config(num_updates=2, num_iterations=2, learning_rate=0.01, beta=0.0)
    groups = sampled_groups(policy, tiny, config)
    learner, shares = learner_of(policy, config), []
    apply = learner.optimizer.apply

    def checked(gradient, loss, step):
        part = slice(len(shares) % 2, len(shares) % 2 + 1)  # first group, second, first, second
        assert_same((loss, gradient), oracle(policy, whole_rows, config, groups[part], ADVANTAGES[part]), 1e-4)
        shares.append(part)
        return apply(gradient, loss, step)

    learner.optimizer.apply = checked
    learner.learn(groups, ADVANTAGES, 0)
    assert len(shares) == 4


def test_a_step_that_is_not_finite_is_dropped_and_the_third_in_a_row_ends_the_run(tiny):
    policy, config = tiny.policy(), tiny.config(beta=0.0)
    groups, bad = made_up_groups(tiny), [[math.nan, 1.0, 0.0, -1.0], ADVANTAGES[1]]
    learner = learner_of(policy, config)
    before = {name: np.array(leaf) for name, leaf in policy.trainable().items()}
    for step in range(2):
        metrics = learner.learn(groups, bad, step)
        assert metrics["updates/dropped"] == 1
        assert all(math.isfinite(value) for value in metrics.values())
    assert all((before[name] == np.array(leaf)).all() for name, leaf in policy.trainable().items())
    assert learner.learn(groups, ADVANTAGES, 2)["updates/dropped"] == 0  # a good one in between: counted anew
    for step in range(3, 5):
        learner.learn(groups, bad, step)
    with pytest.raises(
        TrainingFailed, match=r"3 updates in a row were not finite .* at step 6: try a lower learning_rate"
    ):
        learner.learn(groups, bad, 5)


def test_after_a_step_the_model_is_ready_to_sample(tiny):
    policy, config = tiny.policy(), tiny.config()
    learner_of(policy, config).learn(made_up_groups(tiny), ADVANTAGES, 0)
    assert not policy.model.training


def test_loss_of_two_updates_is_their_mean(tiny):
    policy, groups = tiny.policy(), made_up_groups(tiny)
    one = [
        captured(policy, tiny.config(prompts_per_step=1, beta=0.0), groups[i : i + 1], ADVANTAGES[i : i + 1])
        for i in (0, 1)
    ]
    learner = learner_of(policy, tiny.config(num_updates=2, beta=0.0))
    learner.optimizer.apply = lambda gradient, loss, step: (float(len(gradient)), True)
    metrics = learner.learn(groups, ADVANTAGES, 0)
    assert metrics["loss"] == pytest.approx((one[0][0][0] + one[1][0][0]) / 2, rel=1e-5)


def test_a_prompt_run_again_for_its_gradient_drops_the_same_values(tiny, monkeypatch):
    policy = tiny.policy(fine_tune="lora", adapter_noise=0.5)
    for part in policy.adapters.values():
        part.dropout = nn.Dropout(0.5)
    passes = []
    plain = gradients_module.run_prompts

    def recording(*arguments):
        states = plain(*arguments)
        passes.append(states.caches[-1].values)
        return states

    monkeypatch.setattr(gradients_module, "run_prompts", recording)
    learner, (group, _) = learner_of(policy, tiny.config(beta=0.0)), made_up_groups(tiny)
    policy.model.train()
    (bundle,) = pack([group], [ADVANTAGES[0]], token_budget=1)
    learner.gradients.loss_and_gradient(bundle, StepCounts(4, 4))
    learner.gradients.loss_and_gradient(bundle, StepCounts(4, 4))
    first, again, other, _ = (np.array(mx.stop_gradient(values)) for values in passes)
    assert (first == again).all()
    assert not (first == other).all()  # the next bundle drops others


def test_the_gradient_is_the_same_on_any_number_of_lanes(tiny, monkeypatch):
    policy, groups = tiny.policy(fine_tune="lora", adapter_noise=0.2), made_up_groups(tiny)
    found = []
    for count in (1, 2):
        monkeypatch.setattr(gradients_module, "lanes", lambda count=count: count)
        found += captured(policy, tiny.config(beta=0.1, token_budget=40, fine_tune="lora"), groups, ADVANTAGES)
    assert_same(found[1], found[0], 1e-5)


@pytest.mark.skipif(lanes() < 2, reason="one core, or a BLAS whose threads can't be set")
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("fine_tune", ["lora", "full"])
def test_prompts_in_two_parts_have_the_same_gradient(tiny, monkeypatch, beta, fine_tune):
    policy, (group, _) = tiny.policy(fine_tune=fine_tune, adapter_noise=0.5), made_up_groups(tiny)
    config = tiny.config(prompts_per_step=1, beta=beta, fine_tune=fine_tune)
    (bundle,) = pack([group], [ADVANTAGES[0]], token_budget=1)
    trunk, found = policy.trunk, []
    for least in (1 << 30, 2):
        runs = []
        monkeypatch.setattr(policy, "trunk", lambda *rows, seen=runs: (seen.append(1), trunk(*rows))[1])
        monkeypatch.setattr("grpo.attention.trunk.DIVIDED", least)
        policy.model.train()
        scored = learner_of(policy, config).gradients.loss_and_gradient(bundle, StepCounts(4, 4))
        found.append((scored.loss, scored.gradient, len(runs)))
    assert_same(found[1][:2], found[0][:2], 1e-5)
    passes = 3 if beta else 2  # the policy's, again for its gradient, and the reference's: one more run for each
    more = passes if fine_tune == "lora" else 0  # two gradients of all weights are too much
    assert found[1][2] - found[0][2] == more


@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_prompts_that_keep_their_activations_have_the_same_gradient(tiny, monkeypatch, beta, dropout):
    policy, (group, _) = tiny.policy(fine_tune="lora", adapter_noise=0.5), made_up_groups(tiny)
    for part in policy.adapters.values():
        part.dropout = nn.Dropout(dropout)
    passes, found = [], []
    plain = gradients_module.run_prompts
    monkeypatch.setattr(gradients_module, "run_prompts", lambda *a: (passes.append(1), plain(*a))[1])
    monkeypatch.setattr(gradients_module, "lanes", lambda: 2)
    config = tiny.config(prompts_per_step=1, beta=beta, token_budget=40, fine_tune="lora")
    (bundle,) = pack([group], [ADVANTAGES[0]], token_budget=1)
    bundle = (bundle[0], bundle[-1])
    for fraction in (0.25, 0.001):
        monkeypatch.setattr(batching, "KEPT_PROMPTS", fraction)
        learner = learner_of(policy, config)
        policy.model.train()
        scored = learner.gradients.loss_and_gradient(bundle, StepCounts(4, 4))
        found.append((scored.loss, scored.gradient))
    assert_same(found[0], found[1], 1e-5)
    references = 2 if beta else 0
    assert len(passes) == (1 + 2) + references  # once and, run again, twice; the reference once each
