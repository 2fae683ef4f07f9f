"""Rows and prompts longer than the token budget are run in spans: the loss and gradient of whole rows."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from grpo.learner.learner import Learner
from grpo.model import spans
from grpo.types import Group

WHOLE, CUT = 4096, 6  # tokens of the budget
ROWS = [
    [[41, 42, 43, 44, 45, 46, 9, 11, 13, 17, 19, 23, 21, 2], [51, 52, 2], list(range(8, 33)), [5]],
    [[41, 9, 9, 3], [8, 9, 10, 11, 12, 13, 14, 15]],
]
PROMPTS = [[11, 12, 13, 14], [21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33]]
ADVANTAGES = [[1.5, -0.5, -0.9, 0.2], [0.9, -0.9]]


def made_up(tiny, masked=False):
    rng = np.random.default_rng(0)
    groups = []
    for prompt, rows in zip(PROMPTS, ROWS, strict=True):
        rollouts = []
        for row in rows:
            rollout = tiny.rollout(row, rng.normal(-4.1, 1.0, len(row)).tolist())
            mask = tuple(int(place % 5 not in (2, 3)) for place in range(len(row))) if masked else None
            rollouts.append(type(rollout)(**(vars(rollout) | {"mask": mask})))
        groups.append(Group(tiny.prompt(prompt), tuple(rollouts)))
    return groups


def learned(tiny, policy, groups, **keys):
    """Loss and gradient of one update."""
    policy.freeze_reference()
    learner, seen = Learner(policy, tiny.config(**keys)), []
    learner.optimizer.apply = lambda gradient, loss, step: (seen.append((loss, gradient)), (0.0, True))[1]
    learner.learn(groups, ADVANTAGES[: len(groups)], 0)
    return seen[0]


def assert_same(found, expected, relative=1e-4):
    assert found[0] == pytest.approx(expected[0], rel=relative, abs=1e-6)
    assert found[1].keys() == expected[1].keys()
    for name, leaf in expected[1].items():
        scale = max(mx.abs(leaf).max().item(), 1e-4)
        assert mx.abs(found[1][name] - leaf).max().item() <= relative * scale, name


@pytest.fixture
def forwards(monkeypatch):
    """Collect the lengths of the spans that run."""
    lengths, plain = [], spans.run_on
    monkeypatch.setattr(spans, "run_on", lambda *a: (lengths.append(len(a[2])), plain(*a))[1])
    return lengths


@pytest.mark.parametrize("kind", ["llama", "window", "gemma3", "gpt_oss", "qwen3_moe", "deepseek_v3", "qwen3_5",
                                  "falcon_h1", "lfm2", "gemma2", "gemma3n"])  # fmt: skip
def test_rows_in_spans_have_the_gradient_of_whole_rows(tiny, kind, forwards):
    policy, groups = tiny.policy(kind), made_up(tiny)
    expected = learned(tiny, policy, groups, token_budget=WHOLE, beta=0.1, fine_tune="full")
    assert not forwards
    assert policy.cut_refused is None
    found = learned(tiny, policy, groups, token_budget=CUT, beta=0.1, fine_tune="full")
    assert forwards and max(forwards) <= CUT
    assert_same(found, expected, 1e-3)


@pytest.mark.parametrize(
    "keys",
    [
        {"loss_type": "gspo", "importance_sampling_level": "sequence"},
        {"loss_type": "dapo", "entropy_coef": 0.1},
        {"importance_sampling_cap": 1.5, "importance_sampling_mode": "sequence_truncate"},
        {"gradient_checkpointing": True},
        {"beta": 0.0},
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_sees_the_whole_row(tiny, keys, masked):
    groups, keys = made_up(tiny, masked), {"beta": 0.1, "fine_tune": "lora"} | keys
    found = [
        learned(tiny, tiny.policy(fine_tune="lora", adapter_noise=0.5), groups, token_budget=budget, **keys)
        for budget in (CUT, WHOLE)
    ]
    assert_same(*found)


def test_a_span_drops_the_same_values_in_both_directions(tiny, monkeypatch):
    policy = tiny.policy(fine_tune="lora", adapter_noise=0.5)
    for part in policy.adapters.values():
        part.dropout = nn.Dropout(0.5)
    outputs, plain = [], spans.run_on
    monkeypatch.setattr(spans, "run_on", lambda *a: (outputs.append(plain(*a)), outputs[-1])[1])
    learner = Learner(policy, tiny.config(token_budget=CUT, beta=0.0, fine_tune="lora"))
    policy.model.train()
    row = learner.gradients.cut.prompt(PROMPTS[1], 7)
    assert row.spans[0].stop == learner.gradients.cut.size
    ahead = [np.array(hidden) for hidden, _ in outputs]
    outputs.clear()
    row.pull([mx.ones_like(array) for array in row.states.arrays])
    kept = []
    monkeypatch.setattr(spans, "run_on", lambda *a: (kept.append(plain(*a)), kept[-1])[1])
    while row._before:
        row.backward([])
    back = [np.array(mx.stop_gradient(hidden)) for hidden, _ in kept]
    for first, second in zip(ahead, reversed(back), strict=True):
        np.testing.assert_array_equal(first, second)


def test_where_rows_cannot_be_cut_they_stay_whole(tiny, forwards):
    policy, groups = tiny.policy(), made_up(tiny)
    expected = learned(tiny, policy, groups, token_budget=CUT, fine_tune="full")
    forwards.clear()
    policy.cut_refused = "an architecture of its own"
    assert_same(learned(tiny, policy, groups, token_budget=CUT, fine_tune="full"), expected)
    assert not forwards
