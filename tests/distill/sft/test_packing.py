"""Several examples in one row against each of them alone."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from distill.sft.packing import balanced_bins, packed_hidden, packing_refused, padded_bins, padding_share
from distill.sft.step import Supervised, counted, predicting_places
from tests.distill.small_models import TINY, examples

PACKING = ["llama", "untied", "qwen2", "qwen3", "window", "gemma3"]
BATCH = examples([9, 2, 17, 5, 31])


def supervised(policy, *, packing=True, budget=1000):
    return Supervised(policy, token_budget=budget, logits_chunk=7, packing=packing)


def alone(policy, batch):
    """Mean cross-entropy of the counted tokens by mlx's own loss, one example at a time, and its gradient."""
    n = counted(batch)

    def objective(_):
        total = mx.array(0.0)
        for example in batch:
            tokens, mask = mx.array([example.tokens]), mx.array([example.trained_mask])
            logits = policy.model(tokens[:, :-1], cache=policy.whole_caches())  # blocks may share what is in them
            losses = nn.losses.cross_entropy(logits, tokens[:, 1:])
            total = total + (losses * mask[:, 1:]).sum()
        return total / n

    loss, gradient = nn.value_and_grad(policy.model, objective)({})
    return loss.item(), dict(tree_flatten(gradient))


def worst(mine, expected):
    """Largest difference, in units of each leaf's largest value (or 1e-3 where that is smaller)."""
    assert mine.keys() == expected.keys()
    return max(
        float(np.abs(np.array(mine[k]) - np.array(v)).max() / max(np.abs(np.array(v)).max(), 1e-3))
        for k, v in expected.items()
    )


@pytest.mark.parametrize("kind", PACKING)
@pytest.mark.parametrize("fine_tune", ["full", "lora"])
def test_packed_loss_and_gradient_are_those_of_examples_alone(kind, fine_tune):
    policy = TINY.policy(kind, fine_tune=fine_tune, adapter_noise=0.3)
    learner = supervised(policy)
    assert learner.packed
    scored = learner.loss_and_gradient(BATCH, counted(BATCH))
    loss, gradient = alone(policy, BATCH)
    assert scored.loss == pytest.approx(loss, rel=1e-5)
    assert worst(scored.gradient, gradient) < 1e-5


def test_the_adapter_added_into_the_weights_gives_the_same_gradient():
    policy = TINY.policy("llama", fine_tune="lora", adapter_noise=0.3)
    policy.model.train()
    loss, gradient = alone(policy, BATCH)
    assert policy.learns_merged
    policy.merge()
    scored = supervised(policy).loss_and_gradient(BATCH, counted(BATCH))
    assert scored.loss == pytest.approx(loss, rel=1e-5)
    assert worst(scored.gradient, gradient) < 1e-5


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_padded_rows_give_the_same_loss_and_gradient(kind):
    policy = TINY.policy(kind)
    scored = supervised(policy, packing=False).loss_and_gradient(BATCH, counted(BATCH))
    loss, gradient = alone(policy, BATCH)
    assert scored.loss == pytest.approx(loss, rel=1e-5)
    assert worst(scored.gradient, gradient) < 2e-5


def test_attention_of_its_own_is_found_out_and_padded():
    reason = packing_refused(TINY.policy("gemma2"))  # soft-capped scores never reach scaled_dot_product_attention
    assert reason == "the model has an attention of its own"


@pytest.mark.parametrize("kind", ["gpt_oss", "deepseek_v3", "qwen3_5", "falcon_h1", "lfm2", "gemma3n"])
def test_every_architecture_learns_packed_or_padded(kind):
    policy = TINY.policy(kind)
    scored = supervised(policy).loss_and_gradient(BATCH, counted(BATCH))
    loss, gradient = alone(policy, BATCH)
    assert scored.loss == pytest.approx(loss, rel=1e-5)
    assert worst(scored.gradient, gradient) < 1e-3


def test_packing_with_recomputed_blocks_gives_the_same_gradient():
    plain, recomputing = TINY.policy("llama"), TINY.policy("llama", recompute=True)
    recomputing.model.train()
    mine = supervised(recomputing).loss_and_gradient(BATCH, counted(BATCH))
    assert worst(mine.gradient, supervised(plain).loss_and_gradient(BATCH, counted(BATCH)).gradient) < 1e-5


@pytest.mark.parametrize("kind", PACKING)
def test_a_secret_in_one_example_changes_no_other_loss(kind):
    learner = supervised(TINY.policy(kind))
    changed = list(BATCH)
    changed[2] = examples([17], seed=9)[0]
    before, after = np.array(learner.losses(BATCH)), np.array(learner.losses(changed))
    edges = np.cumsum([0, *(sum(example.trained_mask) for example in BATCH)])
    for i in range(len(BATCH)):
        mine = slice(edges[i], edges[i + 1])
        assert (before[mine] == after[mine]).all() == (i != 2)


def test_examples_longer_than_a_block_of_queries_are_exact(monkeypatch):
    from distill.sft import packing
    from grpo.attention import causal

    policy = TINY.policy("llama")
    rows = [example.tokens for example in examples([40, 23])]
    whole = mx.concatenate([policy.trunk(mx.array([row]))[0] for row in rows])
    supervised(policy)
    monkeypatch.setattr(
        packing, "causal_attention", lambda *parts, window: causal.causal_attention(*parts, window=window, block=8)
    )
    assert np.abs(np.array(packed_hidden(policy, rows) - whole)).max() < 1e-4


def test_micro_batches_do_not_change_the_gradient():
    policy = TINY.policy("llama")
    whole = supervised(policy).loss_and_gradient(BATCH, counted(BATCH))
    learner = supervised(policy, budget=31)
    parts = [learner.loss_and_gradient(batch, counted(BATCH)) for batch in learner.micro_batches(BATCH)[0]]
    assert len(parts) == 3  # 9 + 2 + 17 + 5 + 31 = 64 tokens: 31 | 17 + 2 + ... no two bins of 31 hold 64
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, rel=1e-5)
    summed = {name: sum(part.gradient[name] for part in parts) for name in whole.gradient}
    assert worst(summed, whole.gradient) < 1e-5


def test_the_state_before_a_token_predicts_it():
    # lengths 5 and 4, the second half counts: tokens 2, 3, 4 of the first, 2 and 3 of the second (at 5 + 2, 5 + 3)
    assert predicting_places(examples([5, 4])) == [1, 2, 3, 6, 7]


def test_bins_are_few_and_even():
    # 24 tokens in bins of 10 need three; longest first into the emptiest: 8 | 6 + 2 | 5 + 3
    assert balanced_bins([8, 3, 5, 6, 2], 10) == [[0], [1, 2], [3, 4]]


def test_an_example_longer_than_the_budget_stands_alone():
    assert balanced_bins([30, 4, 4], 10) == [[0], [1, 2]]


def test_padding_share_counts_positions_that_belong_to_no_example():
    bins = padded_bins([2, 9, 3, 8], 18)
    assert bins == [[0, 2], [3, 1]]  # 3 + 3 positions, then 9 + 9
    # 22 tokens in 24 positions
    assert padding_share(bins, [2, 9, 3, 8], packed=False) == pytest.approx(2 / 24)
    assert padding_share([[0, 1, 2, 3]], [2, 9, 3, 8], packed=True) == 0.0
