"""Rows of completions files."""

import json
from dataclasses import replace

import pytest

from envs import Task
from grpo.runs.rows import LONG, completion_rows, to_line
from grpo.scoring import GroupScores
from grpo.types import Dialogue

SCORES = GroupScores({"accuracy": [1.0, None]}, [1.0, None], {}, {}, columns={"length": [3]})


@pytest.fixture
def rows(tiny):
    def rows(prompt, columns, **rollout):
        group = tiny.group([11, 12], [[21, 22, 2], [31, 2]])
        rollouts = tuple(replace(one, logprobs=(-1 / 3,) * len(one.tokens), **rollout) for one in group.rollouts)
        group = replace(group, prompt=replace(group.prompt, task=Task("f:1", prompt, columns)), rollouts=rollouts)
        return completion_rows(group, SCORES, [0.5, -0.5])

    return rows


def test_a_row_holds_the_answer_the_columns_and_what_the_sampler_saw(rows):
    first, second = rows("11 12", {"answer": 7, "colour": "red"})
    assert list(first)[:5] == ["task", "prompt", "answer", "colour", "completion"]
    assert (first["answer"], first["colour"], first["advantage"], first["rewards"]) == (
        7,
        "red",
        0.5,
        {"accuracy": 1.0},
    )
    assert first["logprobs"] == [-0.333] * 3 and len(second["entropies"]) == second["tokens"] == 2
    assert "messages" not in first  # a prompt and a completion are all there is
    assert (first["logged"], second["logged"]) == ({"length": 3}, {})


def test_a_column_named_like_a_key_of_the_row_is_kept_beside_it(rows):
    first, _ = rows("11 12", {"reward": "ten euros", "tokens": 9})
    assert (first["column/reward"], first["reward"], first["column/tokens"], first["tokens"]) == (
        "ten euros",
        1.0,
        9,
        3,
    )


def test_a_long_column_stands_in_the_first_row_alone(rows):
    first, second = rows("11 12", {"answer": "7", "tests": ["x" * LONG], "text": "x" * LONG})
    assert first["tests"] == ["x" * LONG] and "tests" not in second
    assert second["answer"] == "7" and second["text"] == "x" * LONG


def test_a_conversation_is_there_message_by_message(rows):
    messages = [{"role": "system", "content": "Add."}, {"role": "user", "content": "2+3?"}]
    assert rows(messages, {}, text="5")[0]["messages"] == [*messages, {"role": "assistant", "content": "5"}]
    begun = [*messages, {"role": "assistant", "content": "Sum: "}]
    assert rows(begun, {}, text="5")[0]["messages"] == [*messages, {"role": "assistant", "content": "Sum: 5"}]


def test_a_dialogue_is_there_turn_by_turn(rows):
    said = ({"role": "assistant", "content": "3?"}, {"role": "user", "content": "no"})
    dialogue = Dialogue(said, ((0, 1),), ({},), "done", info=({},))
    asked = {"role": "user", "content": "Guess."}
    assert rows("Guess.", {}, dialogue=dialogue)[0]["messages"] == [asked, *said]


def test_what_json_has_no_word_for_is_written_as_text():
    assert json.loads(to_line({"when": {1, 2}})) == {"when": "{1, 2}"}
