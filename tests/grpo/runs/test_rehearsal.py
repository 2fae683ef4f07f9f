"""Every reward is called once before a run."""

import pytest

from envs import Task
from grpo.runs.rehearsal import rehearse
from rewards import RewardSet


def tried(function, prompt="What is 1 + 1?"):
    seen = []

    def reward(prompts, completions, answer, completion_ids, **columns):
        seen.append((prompts, completions, answer, completion_ids, columns))
        return function(completions)

    with RewardSet({"mine": 1.0}, functions={"mine": reward}) as rewards:
        return rehearse(rewards, Task("7", prompt, {"answer": "2"}), max_completion_length=9), seen


def test_a_real_row_with_a_made_up_completion_is_what_it_sees():
    found, [(prompts, completions, answer, ids, columns)] = tried(lambda completions: [0.5] * len(completions))
    assert (found.refused, found.failed, found.tracebacks) == ([], [], [])
    assert prompts == ["What is 1 + 1?"] * 2 and answer == ["2", "2"] and len(ids) == 2
    assert "made up" in completions[0] and "<answer>2</answer>" in completions[0]
    assert columns["max_completion_length"] == [9, 9]


def test_a_conversation_gives_messages():
    messages = [{"role": "user", "content": "Hi"}]
    _, [(prompts, completions, *_)] = tried(lambda completions: [1.0, 1.0], messages)
    assert prompts[0] == messages and completions[0][0]["role"] == "assistant"


@pytest.mark.parametrize(
    ("error", "refused"), [(TypeError, 1), (ModuleNotFoundError, 1), (NameError, 1), (KeyError, 0)]
)
def test_what_no_completion_would_cure_is_refused(error, refused):
    def fail(completions):
        raise error("a\nb")

    found, _ = tried(fail)
    assert (len(found.refused), len(found.failed)) == (refused, 1 - refused)
    assert "task 7\n" in found.tracebacks[0] and "in fail" in found.tracebacks[0]
    assert "\n" not in (found.refused + found.failed)[0]
