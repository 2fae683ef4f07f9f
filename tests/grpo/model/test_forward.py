"""Logprobs of micro-batches. What prefix sharing itself must keep is in test_prefix.py."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from grpo.model.chunks import chunked_logprobs
from grpo.model.forward import completion_logprobs, completion_scores, rows_of, sum_trees

PROMPT = [11, 12, 13, 14]
ROWS = [[21, 22, 23, 2], [31, 32], [41, 42, 43, 44, 45, 46]]


def logprobs(policy, prompts, rows, temperature=1.0, chunk_tokens=1024):
    return np.array(
        completion_logprobs(policy, rows_of(prompts, rows), temperature=temperature, chunk_tokens=chunk_tokens)
    )


def test_flat_tokens_and_places_leave_padding_out():
    rows = rows_of([PROMPT], [[21, 22], [31], [41, 42, 43]])
    assert rows.flat_tokens().tolist() == [21, 22, 31, 41, 42, 43]
    assert rows.flat_places().tolist() == [0, 1, 3, 6, 7, 8]  # rows of three columns
    assert rows.padded(mx.array([1.0, 2, 3, 4, 5, 6])).tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert rows.mask().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]


def test_the_mask_is_1_at_a_stop_token_that_is_also_the_padding():
    # padding is written as 0; a completion that ends in token 0 keeps it (trap 5)
    assert rows_of([PROMPT], [[21, 0], [0], [41, 0, 0]]).mask().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("shares", [True, False])
def test_a_row_has_the_same_logprobs_alone_and_in_company(tiny, shares):
    policy = tiny.policy(shares=shares)
    together = logprobs(policy, [PROMPT], ROWS)
    for i, row in enumerate(ROWS):
        alone = logprobs(policy, [PROMPT], [row])
        np.testing.assert_allclose(together[i, : len(row)], alone[0], rtol=1e-5)


@pytest.mark.parametrize("shares", [True, False])
def test_the_order_of_rows_and_prompts_changes_nothing(tiny, shares):
    policy = tiny.policy(shares=shares)
    other = [51, 52]
    first = logprobs(policy, [PROMPT, other], [ROWS[0], ROWS[1], ROWS[2], ROWS[0]])
    second = logprobs(policy, [other, PROMPT], [ROWS[2], ROWS[0], ROWS[1], ROWS[0]])
    np.testing.assert_allclose(second[[3, 2, 0, 1]], first, rtol=1e-5, atol=1e-7)


def test_sharing_the_prompt_or_carrying_it_is_the_same(tiny):
    prompts, rows = [PROMPT, [51, 52]], [ROWS[0], ROWS[1], ROWS[2], ROWS[0]]
    shared = logprobs(tiny.policy(), prompts, rows, 0.7)
    carried = logprobs(tiny.policy(shares=False), prompts, rows, 0.7)
    np.testing.assert_allclose(shared, carried, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["llama", "untied", "gemma2"])  # tied head, own head, head inside the model
@pytest.mark.parametrize("chunk_tokens", [1, 5])
def test_chunks_of_the_vocabulary_projection_change_nothing(tiny, kind, chunk_tokens):
    policy = tiny.policy(kind)
    whole, cut = (logprobs(policy, [PROMPT], ROWS, chunk_tokens=chunk) for chunk in (1024, chunk_tokens))
    np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-7)


def test_completions_of_one_token_need_only_the_prompt(tiny, whole_rows):
    policy = tiny.policy()
    scored = logprobs(policy, [PROMPT, [51]], [[2], [21], [2], [21]], 0.7)
    expected = [whole_rows.logprobs(policy.model, p, [t], 0.7).item() for p in (PROMPT, [51]) for t in (2, 21)]
    assert scored[:, 0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", "untied"])
def test_the_head_of_a_full_fine_tuning_gets_its_gradient(tiny, whole_rows, kind):
    policy = tiny.policy(kind)
    name = "model.embed_tokens.weight" if kind == "llama" else "lm_head.weight"

    def shared(_):
        return completion_logprobs(policy, rows_of([PROMPT], ROWS), temperature=1.0, chunk_tokens=4).sum()

    def whole(_):
        return mx.stack([whole_rows.logprobs(policy.model, PROMPT, row).sum() for row in ROWS]).sum()

    mine, expected = (dict(tree_flatten(nn.value_and_grad(policy.model, f)({})[1]))[name] for f in (shared, whole))
    np.testing.assert_allclose(np.array(mine), np.array(expected), rtol=1e-4, atol=1e-5)


def test_a_large_vocabulary_is_summed_as_exactly_as_the_sampler_does():
    """Few likely tokens among 49,152: a single float32 sum is 1e-4 off, as much as sampler and policy may differ."""
    logits = np.random.default_rng(0).normal(0, 4, (4, 49_152)).astype(np.float32)
    logits[:, 7] = 20
    exact = logits.astype(np.float64)
    exact = 20 - (np.log(np.exp(exact - 20).sum(axis=1)) + 20)
    hidden, tokens = mx.array(logits), mx.array([7] * 4)
    scored, _ = chunked_logprobs(hidden, tokens, lambda _, rows: rows, {}, temperature=1.0, chunk_tokens=2)
    np.testing.assert_allclose(np.array(scored), exact, rtol=0, atol=1e-5)


def test_sum_trees_counts_none_as_zeros():
    tree = {"a": mx.array([1.0, 2.0])}
    assert sum_trees(None, tree)["a"].tolist() == [1.0, 2.0]
    assert sum_trees(tree, tree)["a"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize("fine_tune", ["lora", "full"])
def test_entropies_have_a_gradient(tiny, fine_tune):
    # d(sum of entropies) along a direction, against the difference quotient of the exact sum
    policy = tiny.policy("llama", fine_tune=fine_tune, adapter_noise=0.1 if fine_tune == "lora" else 0.0)
    rows = rows_of([[11, 12, 13]], [[41, 42, 2], [51]])
    model = policy.model

    def total(trained):
        model.update(trained)
        logprobs, entropies = completion_scores(policy, rows, temperature=0.7, chunk_tokens=3)
        return (entropies + 0.5 * logprobs).sum()

    trained = model.trainable_parameters()
    gradient = dict(tree_flatten(mx.grad(total)(trained)))
    mx.random.seed(3)
    direction = {name: mx.random.normal(leaf.shape) for name, leaf in gradient.items()}
    slope = sum((gradient[name] * direction[name]).sum().item() for name in gradient)
    sides = [
        total(tree_unflatten([(n, leaf + sign * 1e-3 * direction[n]) for n, leaf in tree_flatten(trained)])).item()
        for sign in (1, -1)
    ]
    model.update(trained)
    assert slope == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=2e-2)
    plain = completion_logprobs(policy, rows, temperature=0.7, chunk_tokens=3)
    scored, _ = completion_scores(policy, rows, temperature=0.7, chunk_tokens=3)
    np.testing.assert_allclose(np.array(scored), np.array(plain), atol=1e-5)
