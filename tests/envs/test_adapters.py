"""Others' environments, each with the real package or a server on loopback."""

import asyncio

import pytest

from envs import DataError, Env, Task, make
from envs.adapters.trl import FactoryEnv, opened_by_reset, owned_rewards, with_tools
from tests.envs.playing import played

# TRL


class Counter:
    """A number that is counted up."""

    def reset(self, start=0, **columns):
        self.value = start
        return f" It is {start}."

    def add(self, by: int) -> int:
        """Add to the number.

        Args:
            by: how much
        """
        self.value += by
        return self.value

    def _hidden(self):
        raise AssertionError


def rows():
    return Env("rows", {"train": [Task("1", "Count to 5.", {"start": 3})], "test": []})


def test_trls_environment_factory_is_an_environment():
    env = with_tools(rows(), (), Counter)
    (task,) = env.tasks("train")
    assert task.prompt == "Count to 5. It is 3."
    assert [tool.name for tool in env.converse(task).tools] == ["add"]
    first, second, last = played(
        env, {"name": "add", "arguments": {"by": 1}}, {"name": "add", "arguments": {"by": 1}}, "It is 5."
    )
    assert [first.messages[0]["content"], second.messages[0]["content"], last.done] == ["4", "5", True]
    assert played(env, {"name": "add", "arguments": {"by": 1}})[0].messages[0]["content"] == "4"  # each has its own


def test_a_reset_that_fails_is_one_line():
    class Broken(Counter):
        def reset(self, **columns):
            raise OSError("no disk")

    with pytest.raises(DataError, match="reset failed on task 1: OSError: no disk"):
        FactoryEnv(rows(), Broken)


def double(of: int) -> int:
    """Double a number."""
    return 2 * of


def test_tools_stand_beside_a_factorys_methods():
    env = with_tools(rows(), [double], Counter)
    talk = env.converse(env.tasks("train")[0])
    assert [tool.name for tool in talk.tools] == ["double", "add"]
    (reply,) = played(env, {"name": "double", "arguments": {"of": 4}})
    assert reply.messages[0]["content"] == "8"


def test_one_object_of_a_factory_is_asked_for_every_prompt():
    made = []

    class Counted(Counter):
        def __init__(self):
            made.append(self)

        @property
        def costly(self):
            raise AssertionError("evaluated")

        @staticmethod
        def zero() -> int:
            """Return nothing."""
            return 0

    tasks = [Task(str(n), "Count.", {"start": n}) for n in range(5)]
    env = FactoryEnv(Env("rows", {"train": tasks}), Counted)
    assert [task.prompt for task in env.tasks("train")] == [f"Count. It is {n}." for n in range(5)]
    assert len(made) == 1
    assert [tool.name for tool in env.converse(env.tasks("train")[0]).tools] == ["add", "zero"]


def test_a_rollouts_reset_gets_the_row_as_it_was_given():
    seen = []

    class Parsed(Counter):
        def reset(self, prompt, **columns):
            seen.append(prompt[0]["content"])
            return [{"type": "text", "text": " Go."}]

    env = FactoryEnv(rows(), Parsed)
    assert env.tasks("train")[0].prompt == "Count to 5. Go."
    played(env, "5")
    assert seen == ["Count to 5."] * 2


def test_rows_without_a_prompt_get_it_from_reset():
    class Owner(Counter):
        def reset(self, start=0, **columns):
            assert "prompt" not in columns
            return None if start == 7 else f"Count from {start}."

    given = opened_by_reset([{"start": 3}, {"prompt": "Hm.", "start": 4}])
    assert given[0] == Task("1", "", {"start": 3}) and given[1]["prompt"] == "Hm."
    env = FactoryEnv(Env("rows", {"train": given[:1]}), Owner)
    assert env.tasks("train")[0].prompt == "Count from 3."
    with pytest.raises(DataError, match=r"reset\(\) must return the prompt of task 1, which has none"):
        FactoryEnv(Env("rows", {"train": [Task("1", "", {"start": 7})]}), Owner)


def test_an_async_get_reward_is_awaited_and_a_subclass_is_another_environment():
    class Judged(Counter):
        value = 3

        async def get_reward(self) -> float:
            return self.value

    class Under(Judged):
        pass

    (reward,) = owned_rewards(Judged)
    found = asyncio.run(reward(environments=[Judged(), Under(), None]))
    assert found == [3.0, None, None]


# gymnasium


def test_gymnasium_is_played_in_words():
    pytest.importorskip("gymnasium", reason="needs the extra envs")
    env = make("gymnasium", env_id="FrozenLake-v1", options={"is_slippery": False}, tasks=2, test_tasks=1)
    assert env.tasks("train")[0].prompt == "0"
    fool, step, *_, end = played(env, "I go", "down: 1", "1", "2", "1", "2", "2")
    assert fool.messages[0]["content"].startswith("That is no action") and not fool.done
    assert step.messages[0]["content"] == "4"
    assert end.done and end.rewards == {"step": 1.0}


# textarena


def test_a_textarena_game_is_played():
    pytest.importorskip("textarena", reason="needs the extra envs")
    env = make("textarena", game="GuessTheNumber-v0", tasks=2, test_tasks=1)
    first = env.tasks("train")[0]
    assert "guess" in first.prompt.lower()
    talk, replies = env.converse(first), []
    for guess in range(1, 21):
        replies.append(talk.reply({"role": "assistant", "content": f"[{guess}]"}))
        if replies[-1].done:
            break
    assert replies[-1].done and all(reply.rewards.keys() == {"step"} for reply in replies)


# verifiers


def vf_rows():
    return [{"question": f"{i}+{i}?", "answer": str(2 * i)} for i in range(4)]


@pytest.fixture
def vf():
    found = pytest.importorskip("verifiers", reason="needs the extra verifiers")
    if not hasattr(found, "MultiTurnEnv"):
        pytest.skip("needs verifiers before 0.2")
    return found


def vf_parts(vf):
    from datasets import Dataset

    def right(completion, answer, **_):
        return float(answer in str(completion[-1].content))

    return {"dataset": Dataset.from_list(vf_rows()), "rubric": vf.Rubric(funcs=[right], weights=[2.0])}


def test_a_verifiers_single_turn_environment_is_scored_by_its_rubric(vf):
    from envs.adapters.verifiers import VerifiersEnv, is_verifiers

    found = vf.SingleTurnEnv(**vf_parts(vf))
    assert is_verifiers(found) and not is_verifiers(rows())
    env = VerifiersEnv(found)
    task = env.tasks("train")[0]
    (reply,) = played(env, task.columns["answer"], task=task)
    assert reply.done and reply.rewards == {"rubric": 2.0}


def test_a_verifiers_multi_turn_environment_answers_until_it_stops(vf):
    from envs.adapters.verifiers import VerifiersEnv

    class Again(vf.MultiTurnEnv):
        async def env_response(self, messages, state, **_):
            return [{"role": "user", "content": f"again {len(state['trajectory'])}"}]

    first, second, last = played(VerifiersEnv(Again(max_turns=3, **vf_parts(vf))), "a", "b", "c")
    assert first.messages == [{"role": "user", "content": "again 1"}] and not second.done
    assert second.messages == [{"role": "user", "content": "again 2"}]
    assert last.done and last.rewards == {"rubric": 0.0} and last.info["metrics"]["num_turns"] == 3


def test_a_verifiers_tool_environment_calls_its_tools(vf):
    from envs.adapters.verifiers import VerifiersEnv

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    env = VerifiersEnv(vf.ToolEnv(tools=[add], **vf_parts(vf)))
    assert [tool.name for tool in env.converse(env.tasks("train")[0]).tools] == ["add"]
    called, last = played(env, {"name": "add", "arguments": {"a": 1, "b": 2}}, "done")
    assert called.messages == [{"role": "tool", "content": "3", "tool_call_id": "call00000"}]
    assert last.done
