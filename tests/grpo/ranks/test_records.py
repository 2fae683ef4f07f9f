"""Groups and rewards as bytes: what arrives is what was sent."""

from dataclasses import replace

import numpy as np

from envs import Task
from grpo.ranks.records import pack, scores_of, scores_to_plain, unpack
from grpo.scoring import GroupScores
from grpo.types import Dialogue, Group, Prompt, Rollout

PROMPT = Prompt(Task("a", "1 + 1?"), (4, 5), "1 + 1?")
PLAIN = Rollout((7, 8, 2), (-0.5, -0.25, -1e-9), (0.5, 0.1, 1 / 3), "two \udce9 é", "stop")
SPOKEN = Rollout(
    (7, 8, 9, 2),
    (-0.5, 0.0, 0.0, -1.0),
    (0.5, 0.0, 0.0, 1.0),
    "",
    "length",
    mask=(1, 0, 0, 1),
    dialogue=Dialogue(
        ({"role": "assistant", "content": "hi"}, {"role": "user", "content": "so?"}),
        ((0, 1), (3, 4)),
        ({"won": 1.0}, {}),
        "max_turns",
        None,
        ({"tool_calls": 2}, {}),
        environment=object(),
        tool_tracebacks=("Traceback",),
    ),
)
SCORES = GroupScores(
    {"accuracy": [1.0, None]},
    [0.5, None],
    {"accuracy/timeout": 1},
    {"accuracy/timeout": "accuracy: no answer in 2 s"},
    {"accuracy": [1.0, None]},
    {"accuracy/clipped": 1},
    {"why": ["right", "late"]},
    {"words": [2.0, 3.0]},
    {"accuracy": "Traceback"},
)


def test_groups_and_rewards_arrive_as_they_were_sent():
    group = Group(PROMPT, (PLAIN, SPOKEN))
    groups, scored = unpack(pack([group, group], [SCORES, SCORES]), [PROMPT, PROMPT])
    assert SPOKEN.dialogue is not None
    left_behind = replace(SPOKEN, dialogue=replace(SPOKEN.dialogue, environment=None))
    assert groups == [Group(PROMPT, (PLAIN, left_behind))] * 2
    assert scored == [SCORES, SCORES]


def test_experts_arrive():
    chosen = np.array([[[0, 3]], [[1, 2]]], dtype=np.int16)  # [time - 1, mixtures, chosen]
    groups, _ = unpack(pack([Group(PROMPT, (PLAIN, replace(PLAIN, experts=chosen)))], []), [PROMPT])
    first, second = groups[0].rollouts
    assert first.experts is None and second.experts is not None
    assert second.experts.dtype == np.int16 and second.experts.tolist() == chosen.tolist()


def test_nothing_arrives_as_nothing():
    assert unpack(pack([], []), []) == ([], [])


def test_scores_survive_what_json_has_no_word_for():
    odd = replace(SCORES, columns={"why": [{1, 2}, None]})
    assert scores_of(scores_to_plain(odd)).columns == {"why": ["{1, 2}", None]}


def test_32_bits_are_enough_for_what_was_32_bits():
    short = replace(PLAIN, logprobs=(-0.5,) * 3, entropies=(0.25,) * 3)
    assert len(pack([Group(PROMPT, (short,) * 1000)], [])) < len(pack([Group(PROMPT, (PLAIN,) * 1000)], [])) - 20_000
