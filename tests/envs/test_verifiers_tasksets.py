"""Environments of verifiers from 0.4 on, with the real package: one turn, tools, a user of its own, refusals."""

import sys
import textwrap

import pytest

from envs import DataError, make
from envs.adapters.verifiers import is_verifiers, of_verifiers

MODULES = {
    "vf_sums": """
        import verifiers.v1 as vf

        class SumData(vf.TaskData):
            answer: str

        class SumTask(vf.Task[SumData, vf.State, vf.TaskConfig]):
            @vf.reward(weight=2.0)
            async def right(self, task, trace) -> float:
                return float(task.answer in trace.last_reply)

            @vf.metric
            async def letters(self, trace) -> float:
                return float(len(trace.last_reply))

        class Sums(vf.Taskset[SumTask, vf.TasksetConfig]):
            def load(self):
                for n in range(8):
                    yield SumTask(SumData(prompt=f"{n} + {n}?", system_prompt="Be short.", answer=str(2 * n)))

        __all__ = ["Sums"]
        """,
    "vf_adder": """
        import verifiers.v1 as vf

        class Adder(vf.Toolset[vf.SharedToolsetConfig, vf.State]):
            TOOL_PREFIX = None

            @vf.tool
            def add(self, a: int, b: int) -> int:
                '''Add two numbers.'''
                return a + b

        if __name__ == "__main__":
            Adder.run()
        """,
    "vf_tools": """
        import verifiers.v1 as vf
        from vf_adder import Adder
        from vf_sums import SumTask, SumData

        class ToolSums(vf.Taskset[SumTask, vf.TasksetConfig]):
            def load(self):
                for n in range(3):
                    yield SumTask(SumData(prompt=f"{n} + {n}?", answer=str(2 * n)))

            @classmethod
            def toolsets(cls, config):
                return [Adder(vf.SharedToolsetConfig())]

        __all__ = ["ToolSums"]
        """,
    "vf_guess": """
        import verifiers.v1 as vf

        class NumberData(vf.TaskData):
            number: int

        class NumberTask(vf.Task[NumberData, vf.State, vf.TaskConfig]):
            pass

        class Numbers(vf.Taskset[NumberTask, vf.TasksetConfig]):
            INFINITE = True

            def load(self):
                n = 0
                while True:
                    yield NumberTask(NumberData(prompt=None, number=n % 10))
                    n += 1

        class GuessConfig(vf.EnvConfig):
            player: vf.AgentConfig = vf.AgentConfig()

        class Guess(vf.Env[GuessConfig]):
            async def run(self, task, agents):
                right = False
                async with agents.player.interaction(task) as talk:
                    segment = await talk.turn(f"Guess my number, it is below {task.data.number + 5}.")
                    for _ in range(3):
                        if segment.terminated:
                            break
                        right = segment.last_reply == str(task.data.number)
                        if right:
                            break
                        segment = await talk.turn("No.")
                talk.trace.record_reward("right", float(right))

        __all__ = ["Numbers", "Guess"]
        """,
}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    found = pytest.importorskip("verifiers", reason="needs the extra verifiers")
    if hasattr(found, "load_environment"):
        pytest.skip("needs verifiers 0.4")
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # of tool servers, which are processes of their own
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def said(talk, content, *calls):
    made = [
        {"id": f"call{n:05d}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    return talk.reply({"role": "assistant", "content": content, **({"tool_calls": made} if made else {})})


def test_a_tasksets_rewards_judge_one_turn(modules):
    env = make("verifiers", env_id="vf_sums", test_size=2)
    assert [len(env.tasks(split)) for split in ("train", "test")] == [6, 2]
    task = env.tasks("train")[0]
    assert task.prompt[0] == {"role": "system", "content": "Be short."} and task.columns.keys() == {"answer"}
    talk = env.converse(task)
    reply = said(talk, f"It is {task.columns['answer']}.")
    assert reply.done and reply.rewards == {"rubric": 2.0}
    assert reply.info["metrics"] == {"letters": float(len(f"It is {task.columns['answer']}.")), "right": 2.0}
    assert said(env.converse(task), "no").rewards == {"rubric": 0.0}


def test_several_rollouts_run_at_once(modules):
    env = make("verifiers", env_id="vf_sums", test_size=0)
    talks = [(task, env.converse(task)) for task in env.tasks("train") for _ in range(2)]
    replies = [said(talk, task.columns["answer"]) for task, talk in talks]
    assert [reply.rewards["rubric"] for reply in replies] == [2.0] * 16


def test_a_tasksets_tools_are_shown_and_called(modules):
    env = make("verifiers", env_id="vf_tools", test_size=0)
    task = env.tasks("train")[0]
    talk = env.converse(task)
    assert [tool.name for tool in talk.tools] == ["add"]
    assert talk.tools[0].schema["function"]["description"] == "Add two numbers."
    called = said(talk, "", ("add", {"a": 20, "b": 22}), ("sub", {}))
    assert [one["content"] for one in called.messages] == ["42", "error: unknown tool 'sub'"]
    assert [one["tool_call_id"] for one in called.messages] == ["call00000", "call00001"] and not called.done
    assert said(talk, task.columns["answer"]).rewards == {"rubric": 2.0}


def test_an_environment_of_its_own_speaks_first_and_answers(modules):
    with pytest.raises(DataError, match="its taskset has no end: give limit"):
        make("verifiers", env_id="vf_guess")
    env = make("verifiers", env_id="vf_guess", limit=5, test_size=1)
    task = env.tasks("train")[0]
    number = task.columns["number"]
    assert task.prompt == f"Guess my number, it is below {number + 5}."
    talk = env.converse(task)
    first = said(talk, "77")
    assert first.messages == [{"role": "user", "content": "No."}] and not first.done
    last = said(talk, str(number))
    assert last.done and last.rewards == {"rubric": 1.0}
    given_up = env.converse(task)
    said(given_up, "77")
    given_up.close()


def test_limits_of_the_environment_end_a_conversation(modules):
    env = make("verifiers", env_id="vf_guess", limit=3, test_size=0, arguments={"player": {"max_turns": 2}})
    talk = env.converse(env.tasks("train")[0])
    assert not said(talk, "77").done
    assert said(talk, "78").done


def test_an_environment_from_a_function(modules):
    import verifiers.v1 as vf

    found = vf.load_environment(vf.resolve_env_config({"taskset": {"id": "vf_sums"}}))
    assert is_verifiers(found) and not is_verifiers(object())
    env = of_verifiers(found, name="mine", limit=2)
    assert [len(env.tasks(split)) for split in ("train", "test")] == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"agent": {"harness": {"id": "bash"}}}, "agent agent plays with the program 'bash'"),
        ({"agent": {"runtime": {"type": "docker"}}}, "agent agent runs in docker"),
        ({"agent": {"max_turn": 2}}, "max_turn"),
        ({"id": "user-sim"}, "give every other agent of this environment a model and a client of its own"),
    ],
)
def test_what_can_not_be_trained_is_one_line(modules, arguments, problem):
    with pytest.raises(DataError, match=problem) as refused:
        make("verifiers", env_id="vf_sums", arguments=arguments)
    assert "\n" not in str(refused.value)


def test_an_unknown_taskset_is_one_line(modules):
    with pytest.raises(DataError, match="verifiers: no_such_taskset can't be loaded"):
        make("verifiers", env_id="no_such_taskset")
