"""Whole runs with environments that answer: what is trained on, recorded, resumed and measured."""

import pytest

GAME = """
from envs import Env, Reply, Task

class Higher:
    "Says the sum again, until it is right or three times."
    tools = ()
    def __init__(self, task):
        self.answer, self.turn = task.columns["answer"], 0
    def reply(self, message):
        self.turn += 1
        right = message["content"].split()[-1:] == [self.answer]
        if right or self.turn == 3:
            return Reply(done=True, rewards={"right": float(right)})
        return Reply([{"role": "user", "content": "no . 1 + 1 ="}], rewards={"tried": 0.1}, info={"turn": self.turn})

class Games(Env):
    def converse(self, task):
        return Higher(task)

def make(seed=0):
    tasks = [Task(str(i), f"{i} + {i} =", {"answer": str(2 * i)}) for i in range(8)]
    return Games("games", {"train": tasks, "test": tasks[:4]})
"""
ARGUMENTS = ["data=game:make", "reward_weights={environment: 1.0}", "steps=4", "save_every=2"]


@pytest.fixture
def game(runs):
    runs.module("game", GAME)
    return runs


def test_an_environment_that_answers_trains_and_everything_is_recorded(game):
    run = game.run(*ARGUMENTS, "credit=turn", "eval_every=2")
    assert run.code == 0, run.err
    rows = [row for file in run.completions.values() for row in file]
    talked = [row for row in rows if len(row["turns"]) > 1]
    assert talked and all(row["ended"] == "done" for row in rows)
    for row in talked:
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"] * len(row["turns"])
        assert row["messages"][2] == {"role": "user", "content": "no . 1 + 1 ="}
        assert row["turns"][0]["rewards"] == {"tried": 0.1} and row["turns"][0]["info"] == {"turn": 1}
        begin, end = row["turns"][1]["tokens"]
        assert row["logprobs"][row["turns"][0]["tokens"][1] : begin] == [0.0] * (begin - row["turns"][0]["tokens"][1])
        assert len(row["advantage"]) == len(row["logprobs"]) >= end
    metrics = run.metrics[0]
    assert 1 < metrics["turns/mean"] <= 3 and metrics["environment/failed"] == 0
    assert metrics["rewards/environment/mean"] == pytest.approx(
        metrics["turn_rewards/tried/mean"] + metrics.get("turn_rewards/right/mean", 0.0), abs=1e-5
    )
    assert "environment" in run.summary["before"] and "environment" in run.summary["after"]


COUNTER = """
class Counter:
    def reset(self, answer, **columns):
        self.value = 0
    def add(self, by: int) -> int:
        "Add to the value."
        self.value += by
        return self.value

def counted(environments, **columns):
    return [float(environment.value) for environment in environments]
"""


@pytest.mark.parametrize("process", ["own", "trainer"])
def test_rewards_see_the_objects_of_trls_environment_factory(game, tmp_path, process):
    import importlib

    from grpo import GRPOConfig, GRPOTrainer

    game.module("counter", COUNTER)
    counter = importlib.import_module("counter")

    settings = {"max_steps": 1, "prompts_per_step": 1, "num_generations": 2, "max_completion_length": 8}
    args = GRPOConfig(output_dir=str(tmp_path / "run"), template="plain", reward_process=process, **settings)
    rows = [{"prompt": "1 + 1 =", "answer": "2"}] * 2
    trainer = GRPOTrainer(str(game.model), [counter.counted], args, rows, environment_factory=counter.Counter)
    trainer.train()
    line = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"rewards/counted/mean": 0.0' in line and '"tools/call_frequency": 0.0' in line


def test_a_resumed_run_has_the_same_bits(game):
    whole = game.run(*ARGUMENTS, name="whole")
    game.run(*ARGUMENTS[:2], "steps=2", "save_every=2", name="halves")
    halves = game.run(*ARGUMENTS, name="halves", resume=True)
    assert whole.code == halves.code == 0, halves.err
    assert whole.completions["step_000004.jsonl"] == halves.completions["step_000004.jsonl"]
    files = [run.folder / "adapters.safetensors" for run in (whole, halves)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_traceback_of_an_environment_is_in_the_log(game):
    game.module(
        "game",
        GAME.replace(
            "self.turn += 1\n", "self.turn += 1\n        if self.answer in '2 6 10': raise OSError('no board')\n"
        ),
    )
    run = game.run(*ARGUMENTS, "eval_every=2")
    assert run.code == 0, run.err
    assert run.out.count("OSError: no board (see log.txt)") == 1
    log = (run.folder / "log.txt").read_text()
    assert log.count("raise OSError('no board')") > 0 and "environment\nTraceback" in log and "step 1, task " in log


TOOLED = """
from envs import Env, Reply, Task
from envs.tools.conversation import ToolConversation

def broken(x: int) -> str:
    "Break."
    return {}[x]

class Asking(ToolConversation):
    turn = 0
    def reply(self, message):
        self.turn += 1
        if self.turn > 2:
            return Reply(done=True, rewards={"right": float(len(message["content"]) > 3)})
        call = {"id": "1", "function": {"name": "broken", "arguments": {"x": self.turn}}}
        return super().reply({"role": "assistant", "content": "", "tool_calls": [call]})

class Tooled(Env):
    def converse(self, task):
        return Asking([broken])

def make(seed=0):
    return Tooled("tooled", {"train": [Task(str(i), f"{i} + {i} =") for i in range(8)]})
"""


def test_the_traceback_of_a_tool_is_in_the_log_once(runs):
    runs.module("tooled", TOOLED)
    run = runs.run("data=tooled:make", "reward_weights={environment: 1.0}", "steps=2", "eval_every=0")
    assert run.code == 0, run.err
    text = (runs.folder("run") / "log.txt").read_text()
    assert text.count("Traceback") == 1 and "KeyError: 1" in text and "in broken" in text
    assert "Traceback" not in run.out + run.err
