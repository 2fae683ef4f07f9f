"""Rejection sampling from a real network: the rollout engine behind it, the miniature, adapters."""

import hashlib
import json

import pytest

from distill import rejection
from distill.rejection import __main__ as command
from distill.rejection.samplers import ModelSampler
from grpo.config import Config
from grpo.config.sections import ColdStart
from grpo.model import miniature
from grpo.model.loading import load_policy
from tests.distill.scripted import settings

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
NO_RULES = ["require={}", "max_copied=1", "choose=all", "max_completion_length=8"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "miniature"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miniature, "SHAPE", {**miniature.SHAPE, **SMALL})
        miniature.build(folder, ColdStart(steps=20, batch=8), seed=0)
    return folder


def run(folder, model, *overrides):
    return rejection.run_rejection(settings(f"model={model}", *NO_RULES, *overrides), folder)


def samples(folder):
    lines = [line for path in sorted(folder.glob("samples/*/samples.jsonl")) for line in path.open()]
    return {record["number"]: record["samples"] for record in map(json.loads, lines)}


def test_shards_draw_what_one_process_draws(tmp_path, model):
    run(tmp_path / "one", model)
    for shard in ("2/3", "3/3", "1/3"):
        run(tmp_path / "three", model, f"shard={shard}")
    assert samples(tmp_path / "one") == samples(tmp_path / "three") and len(samples(tmp_path / "one")) == 40
    texts = [one["text"] for each in samples(tmp_path / "one").values() for one in each]
    assert len(set(texts)) > 80  # of 160: they are draws, not copies


def test_another_seed_draws_others(tmp_path, model):
    run(tmp_path / "a", model, "max_prompts=4")
    run(tmp_path / "b", model, "max_prompts=4", "seed=1", "data_options={seed: 0}")
    assert samples(tmp_path / "a") != samples(tmp_path / "b")


def test_a_prompt_that_is_too_long_is_counted(tmp_path, model):
    summary = run(tmp_path, model, "max_prompts=4", "max_prompt_length=5")  # `2 + 2 + 9 =` has six tokens
    assert (summary["prompts"], summary["prompts_left_out"], summary["sampled"]) == (4, 4, 0)


def test_the_adapter_is_used_and_its_hash_recorded(tmp_path, model):
    policy = load_policy(Config(model=str(model)), str(model))
    policy.load_trainable({name: leaf + 0.5 for name, leaf in policy.trainable().items()})
    (tmp_path / "adapter").mkdir()
    policy.save_adapter(tmp_path / "adapter")
    run(tmp_path / "with", model, "max_prompts=4", f"adapter={tmp_path}/adapter")
    run(tmp_path / "without", model, "max_prompts=4")
    assert samples(tmp_path / "with") != samples(tmp_path / "without")
    [row, *_] = map(json.loads, (tmp_path / "with/corpus.jsonl").open())
    digest = hashlib.sha256((tmp_path / "adapter/adapters.safetensors").read_bytes()).hexdigest()
    assert row["provenance"]["adapter_sha256"] == digest


def test_the_miniature_is_made_once_and_nothing_is_loaded_when_all_is_sampled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(miniature, "SHAPE", {**miniature.SHAPE, **SMALL})
    few = ["model=miniature", "cold_start.steps=2", "cold_start.batch=4"]
    arguments = ["--output", str(tmp_path), *few, "template=plain", "max_prompts=4", "samples=2", *NO_RULES]
    assert command.main(arguments) == 0
    monkeypatch.setattr(ModelSampler, "__init__", None)
    assert command.main(arguments) == 0
    assert capsys.readouterr().out.count("making the miniature model") == 1
    assert command.main(["--output", str(tmp_path), "--resume"]) == 0  # with the recorded settings


def test_a_completion_depends_on_its_prompts_number_not_on_its_chunk(tmp_path, model):
    run(tmp_path / "small", model, "chunk_prompts=4")
    run(tmp_path / "large", model, "chunk_prompts=40")
    assert samples(tmp_path / "small") == samples(tmp_path / "large")


TWICE = """
from envs import Env, Reply, Task

class Twice:
    tools = ()
    def __init__(self):
        self.turn = 0
    def reply(self, message):
        self.turn += 1
        return Reply([{"role": "user", "content": "1 + 1 ="}], done=self.turn == 2, rewards={"turn": 0.5})

class Talks(Env):
    def converse(self, task):
        return Twice()

def make(seed=0):
    return Talks("talks", {"train": [Task(str(i), f"{i} + {i} =", {"answer": str(2 * i)}) for i in range(4)]})
"""


def test_conversations_are_sampled_and_become_rows_of_messages(tmp_path, model, monkeypatch):
    (tmp_path / "twice.py").write_text(TWICE)
    monkeypatch.syspath_prepend(str(tmp_path))
    data = ["data=twice:make", "data_options={}", "rewards=[environment]", "template=plain"]
    run(tmp_path / "out", model, *data, "samples=8", "max_prompts=4")
    kept = [one for each in samples(tmp_path / "out").values() for one in each]
    assert len(kept) == 32 and all(one["rewards"] == {"environment": 1.0} for one in kept)
    roles = ["assistant", "user", "assistant", "user"]
    assert all([message["role"] for message in one["messages"]] == roles for one in kept)
    rows = [json.loads(line) for line in (tmp_path / "out" / "corpus.jsonl").open()]
    assert rows and all([m["role"] for m in row["messages"]] == ["user", *roles[:3]] for row in rows)


RAISES = """
from envs import Env, Task
from envs.tools.conversation import ToolConversation

def broken(x: int) -> str:
    "Break."
    return {}[x]

class Asks(ToolConversation):
    turn = 0
    def reply(self, message):
        self.turn += 1
        if self.turn == 2 and ENDS:
            raise OSError("no board")
        call = {"id": "1", "function": {"name": "broken", "arguments": {"x": 1}}}
        return super().reply({"role": "assistant", "content": "", "tool_calls": [call] if self.turn == 1 else []})

class Talks(Env):
    def converse(self, task):
        return Asks([broken])

def make(seed=0):
    return Talks("talks", {"train": [Task(str(i), f"{i} + {i} =", {"answer": "1"}) for i in range(4)]})
"""


@pytest.mark.parametrize("ends", [False, True])
def test_the_tracebacks_of_a_tool_and_an_environment_are_in_the_log_once(tmp_path, model, monkeypatch, ends):
    name = f"raises_{ends}".lower()
    (tmp_path / f"{name}.py").write_text(RAISES.replace("ENDS", str(ends)))
    monkeypatch.syspath_prepend(str(tmp_path))
    data = [f"data={name}:make", "data_options={}", "rewards=[accuracy]", "template=plain"]
    run(tmp_path / "out", model, *data, "samples=4", "max_prompts=4")
    log = (tmp_path / "out" / "log.txt").read_text()
    assert log.count("KeyError: 1") == 1 and "in broken" in log and ", tool\nTraceback" in log
    assert log.count("OSError: no board") == ends and log.count(", environment\nTraceback") == ends
    assert log.count("the environment of task") == ends


def test_a_server_can_not_converse(tmp_path, monkeypatch):
    from grpo.config.sections import ConfigError

    (tmp_path / "twice.py").write_text(TWICE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="needs a model that runs here"):
        server = ["server=http://127.0.0.1:9/v1", "template=chat"]
        run(tmp_path / "out", "m", "data=twice:make", "data_options={}", *server)
