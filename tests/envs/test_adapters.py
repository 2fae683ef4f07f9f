"""Others' environments, each with the real package or a server on loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from envs import DataError, Env, Reply, Task, make
from envs.adapters.trl import FactoryEnv, with_tools


def played(env, *said, task=None):
    """The replies of a conversation in which the model says these texts (or calls these tools)."""
    talk = env.converse(task or env.tasks("train")[0])
    replies = []
    for number, text in enumerate(said):
        message = {"role": "assistant", "content": "" if isinstance(text, dict) else text}
        if isinstance(text, dict):
            message["tool_calls"] = [{"id": f"call{number:05d}", "type": "function", "function": text}]
        replies.append(talk.reply(message))
    return replies


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


def test_tools_and_factory_exclude_each_other():
    with pytest.raises(DataError, match="can't be combined"):
        with_tools(rows(), [print], Counter)


# OpenEnv


class GuessServer(BaseHTTPRequestHandler):
    """Guess the number, which is seed % 10."""

    episodes: ClassVar[dict] = {}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/reset":
            self.episodes[body["episode_id"]] = body["seed"] % 10
            return self.answer({"observation": {"text": "Guess from 0 to 9."}, "reward": None, "done": False})
        if body["episode_id"] not in self.episodes:
            self.send_response(409)
            self.end_headers()
            self.wfile.write(b"no such episode")
            return None
        right = body["action"]["guess"].strip() == str(self.episodes[body["episode_id"]])
        return self.answer({"observation": {"text": "right" if right else "no"}, "reward": float(right), "done": right})

    def answer(self, found):
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    found = ThreadingHTTPServer(("127.0.0.1", 0), GuessServer)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


def test_a_servers_episodes_are_played_over_http(server):
    env = make("openenv", url=server, action="guess", tasks=3, test_tasks=1, instruction="Play.")
    task = env.tasks("train")[2]
    assert task.prompt == "Play.\n\nGuess from 0 to 9." and len(env.tasks("test")) == 1
    wrong, right = played(env, "7", "2", task=task)
    assert wrong == Reply([{"role": "user", "content": "no"}], rewards={"step": 0.0})
    assert right == Reply([{"role": "user", "content": "right"}], done=True, rewards={"step": 1.0})


def test_a_server_that_refuses_says_why(server):
    env = make("openenv", url=server, action="guess", tasks=1, test_tasks=1)
    talk = env.converse(env.tasks("train")[0])
    talk.reply({"role": "assistant", "content": "1"})
    GuessServer.episodes.clear()
    with pytest.raises(RuntimeError, match="HTTP 409: no such episode"):
        talk.reply({"role": "assistant", "content": "1"})


def test_no_server_is_one_line():
    with pytest.raises(DataError, match="reset failed"):
        make("openenv", url="http://127.0.0.1:9", tasks=1)
    with pytest.raises(DataError, match="must begin with http"):
        make("openenv", url="localhost", tasks=1)


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
