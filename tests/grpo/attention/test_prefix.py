"""Completions that share a prompt against whole rows, for every kind of attention mlx_lm has in common use."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

from grpo.attention import blocks, routing
from grpo.attention.caches import CompletionCache, PromptCache
from grpo.attention.causal import causal_attention
from grpo.attention.layout import PrefixLayout, pad_rows
from grpo.attention.routing import install_routing
from grpo.attention.trunk import has_states, prompt_parts, run_apart, trunk_caches
from grpo.cpu.lanes import divided, lanes
from grpo.cpu.switch import plain
from grpo.model import recompute
from grpo.model.forward import completion_logprobs, rows_of, run_prompts
from grpo.rollout import decoding
from grpo.rollout.columns import KV_BLOCK

needs_lanes = pytest.mark.skipif(lanes() < 2, reason="one core, or a BLAS whose threads can't be set")
SHARING = ["llama", "untied", "qwen2", "qwen3", "window", "gemma3", "gemma2"]
DENSE = tuple(SHARING)  # every weight has a say in every logit
SHARING += ["gpt_oss", "qwen3_moe", "deepseek_v3", "gemma3n"]
HYBRID = ["qwen3_5", "falcon_h1", "lfm2"]  # prompts of each length run apart
PROMPTS = [
    [11, 12, 13, 14, 15, 16, 17, 18, 19],
    [21, 22],
    [31, 32, 33, 34, 35, 36],
]  # longer and shorter than a window of 4
COMPLETIONS = [  # two rows a prompt
    [[41, 42, 43, 44, 45, 46, 2], [51]],
    [[41, 9, 9, 3], [52, 53, 54, 55, 56, 57, 58, 59]],
    [[5], [43, 44]],
]
ROWS = rows_of(PROMPTS, [row for rows in COMPLETIONS for row in rows])
PAIRS = [(prompt, row) for prompt, rows in zip(PROMPTS, COMPLETIONS, strict=True) for row in rows]


def close(actual, expected, relative=1e-5):
    """Largest difference within `relative` of the largest value."""
    actual, expected = np.array(actual), np.array(expected)
    return np.abs(actual - expected).max() <= relative * max(np.abs(expected).max(), 1e-3)


def as_mlx_does(monkeypatch):
    """From now on whole rows run with mlx's own attention and gate."""
    monkeypatch.setattr(routing, "on_cpu", lambda _: False)


@pytest.mark.parametrize("kind", SHARING + HYBRID)
def test_a_shared_prompt_gives_the_logprobs_of_whole_rows(tiny, whole_rows, kind, monkeypatch):
    policy = tiny.policy(kind)
    assert policy.shares_prefixes
    shared = completion_logprobs(policy, ROWS, temperature=0.7, chunk_tokens=5)  # [batch, time]
    mx.eval(shared)
    as_mlx_does(monkeypatch)
    for row, (prompt, completion) in enumerate(PAIRS):
        expected = whole_rows.logprobs(policy.model, prompt, completion, 0.7)
        assert close(shared[row, : len(completion)], expected), (kind, row)
        assert not shared[row, len(completion) :].any()  # 0 at padding


@pytest.mark.parametrize("kind", SHARING + HYBRID)
def test_a_shared_prompt_gives_the_gradient_of_whole_rows(tiny, whole_rows, kind, monkeypatch):
    policy = tiny.policy(kind)
    weights = mx.random.normal((len(PAIRS), ROWS.width))

    def shared(_):
        return (completion_logprobs(policy, ROWS, temperature=0.7, chunk_tokens=5) * weights).sum()

    def whole(_):
        parts = [
            (whole_rows.logprobs(policy.model, prompt, row, 0.7) * weights[i, : len(row)]).sum()
            for i, (prompt, row) in enumerate(PAIRS)
        ]
        return mx.stack(parts).sum()

    mine = dict(tree_flatten(nn.value_and_grad(policy.model, shared)({})[1]))
    mx.eval(mine)
    as_mlx_does(monkeypatch)
    expected = dict(tree_flatten(nn.value_and_grad(policy.model, whole)({})[1]))
    tolerance = 2e-5 if kind in DENSE else 1e-4
    assert mine.keys() == expected.keys() == policy.trainable().keys()
    assert [name for name in expected if not close(mine[name], expected[name], tolerance)] == []
    if kind in DENSE:
        assert all(leaf.any().item() for name, leaf in expected.items() if "k_proj.bias" not in name)


@needs_lanes
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", SHARING)
def test_prompts_that_run_in_two_parts_give_the_same_logprobs_and_gradient(tiny, kind, recompute, monkeypatch):
    policy, found, runs = tiny.policy(kind, recompute=recompute), [], []
    weights = mx.random.normal((len(PAIRS), ROWS.width))
    policy.model.train()
    trunk = policy.trunk

    def counted(tokens, caches):
        runs.append(tokens.shape)
        return trunk(tokens, caches)

    monkeypatch.setattr(policy, "trunk", counted)

    for parts in (1, 2):

        def score(_, parts=parts):
            states = run_prompts(policy, PROMPTS, parts)
            logprobs = completion_logprobs(policy, ROWS, temperature=0.7, chunk_tokens=5, states=states)
            return (logprobs * weights).sum()

        value, gradient = nn.value_and_grad(policy.model, score)({})
        with divided(parts):
            mx.eval(value, gradient)
        found.append((value, dict(tree_flatten(gradient))))
    assert runs == [(3, 9), (6, 8), (3, 5), (3, 4), (6, 8)]
    assert close(found[1][0], found[0][0])
    assert [name for name in found[0][1] if not close(found[1][1][name], found[0][1][name])] == []


@needs_lanes
@pytest.mark.parametrize(
    ("prompts", "time", "parts"), [(1, 383, 1), (1, 384, 2), (8, 48, 2), (8, 47, 1), (400, 1, 1), (200, 2, 2)]
)
def test_prompts_of_many_tokens_run_in_parts(prompts, time, parts):
    assert prompt_parts(prompts, time) == parts


@pytest.mark.parametrize("kind", ["llama", "gemma3n", "qwen3_5", "falcon_h1", "qwen3_moe", "gpt_oss"])
def test_recomputed_blocks_give_the_same_gradient(tiny, kind):
    found, weights = [], mx.random.normal((len(PAIRS), ROWS.width))
    for recomputes in (False, True):
        policy = tiny.policy(kind, recompute=recomputes)
        policy.model.train()
        score = lambda _, policy=policy: (  # noqa: E731
            completion_logprobs(policy, ROWS, temperature=0.7, chunk_tokens=5) * weights
        ).sum()
        found.append(dict(tree_flatten(nn.value_and_grad(policy.model, score)({})[1])))
    assert [name for name in found[0] if not close(found[1][name], found[0][name], 1e-4)] == []


def test_what_goes_through_a_block_twice_has_both_gradients():
    # keys are an output of the block and kept by its cache: d/dx of 2x + 3x, and of x itself passed on = 6
    def block(x):
        twice = 1 * x
        return recompute.distinct([twice, twice, x], [x])

    def total(x):
        first, second, third = recompute.recomputed(block, x)
        return (2 * first + 3 * second + third).sum()

    assert mx.grad(total)(mx.ones((2,))).tolist() == [6.0, 6.0]


def prefill(policy, prompts, counts):
    caches = trunk_caches(policy.model)
    if has_states(caches):
        _, caches = run_apart(policy.trunk, prompts, lambda _: trunk_caches(policy.model))
    else:
        policy.trunk(pad_rows(prompts), caches)
    layout = PrefixLayout(tuple(map(len, prompts)), tuple(counts))
    return caches, layout


class Decoding:
    """Rows decoded one token at a time, each of which can say what whole rows would give."""

    def __init__(self, policy):
        self.policy, self.caches, self.rows = policy, [], []
        self.rng = np.random.default_rng(1)

    def enter(self, prompts, counts):
        fresh, layout = prefill(self.policy, prompts, counts)
        if self.rows:
            self.caches = decoding.join(self.caches, fresh, layout)
        else:
            self.caches = decoding.start(fresh, layout, kind=self.policy.rows_cache)
        self.rows += [list(prompt) for prompt, count in zip(prompts, counts, strict=True) for _ in range(count)]

    def leave_only(self, rows):
        self.caches = decoding.keep(self.caches, rows)
        self.rows = [self.rows[row] for row in rows]

    def whole(self, row):
        return self.policy.trunk(mx.array([row]), make_prompt_cache(self.policy.model))[0, -1]

    def step(self, times=1):
        """Feed random tokens; the hidden states must be those of the whole rows."""
        for _ in range(times):
            tokens = self.rng.integers(8, 60, len(self.rows)).tolist()
            hidden = self.policy.trunk(mx.array(tokens)[:, None], self.caches)[:, 0]
            self.rows = [[*row, token] for row, token in zip(self.rows, tokens, strict=True)]
            expected = mx.stack([self.whole(row) for row in self.rows])
            # states have gone through the rounding of every layer: 1.07e-5 with recurrent ones on the plain path
            assert close(hidden, expected, 2e-5), [len(row) for row in self.rows]


@pytest.mark.parametrize("kind", SHARING + HYBRID)
def test_step_by_step_is_the_full_forward_while_rows_leave_and_prompts_join(tiny, kind):
    decoding = Decoding(tiny.policy(kind))
    decoding.enter(PROMPTS[:2], [3, 3])
    decoding.step(6)  # past the window of 4
    decoding.leave_only([0, 3, 4, 5])  # one row of the first prompt is left, three of the second
    decoding.step(2)
    decoding.enter(PROMPTS[2:], [2])  # late, with a prompt of another length
    decoding.step(6)
    decoding.leave_only([1, 4, 5])  # the longest prompt is gone
    decoding.step(2)
    decoding.leave_only([1, 2])  # only late rows: columns before them are dropped
    decoding.step(2)
    decoding.enter([[8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]], [1])  # a wider prompt than any before
    decoding.step(6)


def test_memory_grows_in_blocks_without_losing_what_was_there(tiny):
    decoding = Decoding(tiny.policy("llama", num_hidden_layers=1))
    decoding.enter(PROMPTS[1:], [1, 2])
    decoding.step(KV_BLOCK // 2)
    decoding.leave_only([0, 2])
    decoding.enter([[9, 9, 9]], [1])
    decoding.step(KV_BLOCK // 2 + 2)
    assert decoding.caches[0].own_keys.parts[0].shape[2] == 2 * KV_BLOCK
    decoding.leave_only([2])  # its first column was 32: 66 - 32 are left
    assert decoding.caches[0].columns == KV_BLOCK // 2 + 2
    decoding.step(KV_BLOCK)


def test_the_layout_of_the_rows_that_stay():
    layout, left = PrefixLayout((9, 2, 6), (3, 3, 2)).keep([0, 2, 6])
    assert (layout.lengths, layout.counts, left) == ((9, 6), (2, 1), [0, 2])


def test_rows_of_uneven_prompts_find_their_slots():
    # two slots a prompt: row 0 -> slot 0, the second slot repeats row 0; rows 1 and 2 -> slots 2 and 3
    row_of_slot, slot_of_row = PrefixLayout((4, 4), (1, 2)).slots
    assert (row_of_slot.tolist(), slot_of_row.tolist()) == ([0, 0, 1, 2], [0, 2, 3])


@pytest.mark.parametrize("counts", [(5,), (2, 2, 2), (3, 1, 2)])
def test_rows_go_below_what_is_their_prompts_and_back(counts):
    layout = PrefixLayout((4,) * len(counts), counts)
    rows = mx.random.normal((sum(counts), 3, 2, 7))  # [batch, heads, n, k]
    above = mx.random.normal((len(counts), 3, 4, 2 * max(counts)))
    both = layout.below(above, rows)
    assert mx.array_equal(both[:, :, :4], above).item()
    assert mx.array_equal(both[:, :, 4:], layout.together(rows).swapaxes(-1, -2)).item()
    assert mx.array_equal(layout.back(both[:, :, 4:]), rows).item()


def test_layers_hand_over_what_they_came_to_while_later_ones_are_put_together(monkeypatch):
    handed, places = [], decoding.Places(PrefixLayout((4,), (2,)))
    monkeypatch.setattr(decoding.mx, "async_eval", lambda *arrays: handed.append(arrays))
    for layer in range(2 * decoding.HAND_OVER + 1):
        places.hand_over([layer])
    assert handed == [(0,), (decoding.HAND_OVER,), (2 * decoding.HAND_OVER,)]


@pytest.mark.skipif(plain(), reason="GRPO_PLAIN turns off what is tested here")
def test_whole_rows_attend_by_blocks_where_that_is_faster_and_only_there(tiny, monkeypatch):
    policy, asked = tiny.policy("llama"), []

    def counted(*parts, **named):
        asked.append(parts[0].shape)
        return causal_attention(*parts, **named)

    monkeypatch.setattr(routing, "causal_attention", counted)
    mine = policy.trunk(mx.array([PROMPTS[0]]))
    assert len(asked) == len(policy.model.layers)
    as_mlx_does(monkeypatch)
    assert close(mine, policy.trunk(mx.array([PROMPTS[0]])))
    assert len(asked) == len(policy.model.layers)


def test_installing_twice_wraps_attention_once(tiny):
    import mlx_lm.models.llama as llama

    model = tiny.model("llama")
    assert install_routing(model)
    once = llama.scaled_dot_product_attention
    assert install_routing(model) and llama.scaled_dot_product_attention is once


def test_a_model_that_shares_prompts_still_runs_with_the_caches_of_mlx_lm(tiny):
    from mlx_lm.models.cache import make_prompt_cache

    policy = tiny.policy("llama")
    cache = make_prompt_cache(policy.model)
    policy.model(mx.array([[1, 2, 3]]), cache)
    assert close(policy.model(mx.array([[4]]), cache)[0, 0], policy.model(mx.array([[1, 2, 3, 4]]))[0, -1])


@pytest.mark.parametrize("kind", ["llama", "window"])
def test_blocks_of_queries_give_the_values_and_gradient_of_all_at_once(tiny, kind, monkeypatch):
    policy, weights = tiny.policy(kind), mx.random.normal((len(PAIRS), ROWS.width))
    score = lambda _: (completion_logprobs(policy, ROWS, temperature=0.7, chunk_tokens=5) * weights).sum()  # noqa: E731
    value, gradient = nn.value_and_grad(policy.model, score)({})
    mx.eval(value, gradient)
    monkeypatch.setattr(blocks, "MOST_SCORES", 0)
    monkeypatch.setattr(blocks, "BLOCK_SCORES", 0)
    monkeypatch.setattr(blocks, "SMALLEST_BLOCK", 3)  # of 8 tokens: 3, 3 and 2
    assert blocks.block_size(4, 8, 17) == 3
    in_blocks, other = nn.value_and_grad(policy.model, score)({})
    assert close(in_blocks, value)
    expected, found = dict(tree_flatten(gradient)), dict(tree_flatten(other))
    assert [name for name in expected if not close(found[name], expected[name], 2e-5)] == []


def test_the_scores_of_a_long_completion_are_never_there_at_a_time():
    # one row of 4096 tokens, 8 heads: 8 x 4096^2 x 4 bytes = 537 MB a whole array of scores; blocks have 17 MB
    layout = PrefixLayout((16,), (1,))
    prompt = PromptCache(mx.random.normal((1, 4, 16, 8)), mx.random.normal((1, 4, 16, 8)))
    queries = mx.random.normal((1, 8, 4096, 8))
    keys, values = mx.random.normal((1, 4, 4096, 8)), mx.random.normal((1, 4, 4096, 8))
    mx.eval(queries, keys, values, prompt.arrays)

    def attended(queries, keys, values):
        return CompletionCache(prompt, layout).attend(queries, keys, values, 1.0, None).sum()

    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(mx.grad(attended, argnums=(0, 1, 2))(queries, keys, values))
    assert mx.get_peak_memory() - before < 0.5 * 4 * 8 * 4096**2
