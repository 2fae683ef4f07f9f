"""What TRL's own trainer tests ask of data, models, tools and environments; see test_trl.py."""

import json

import pytest
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from grpo.config.sections import ConfigError
from tests.grpo.api.conftest import ROWS, trainer

# Data


def stream():
    return IterableDataset.from_generator(lambda: iter(ROWS))


TRAIN = {
    "a list": lambda: ROWS,
    "a data set": lambda: Dataset.from_list(ROWS),
    "a stream": stream,
    "splits": lambda: DatasetDict({"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS[:2])}),
    "a dict": lambda: {"train": ROWS},
    "a function": lambda: lambda: ROWS,
}
HELD_OUT = {
    "none": (lambda: None, None),
    "a data set": (lambda: Dataset.from_list(ROWS[:2]), [""]),
    "a stream": (stream, [""]),
    "splits": (lambda: DatasetDict({"one": Dataset.from_list(ROWS[:2]), "two": Dataset.from_list(ROWS[2:4])}),
               ["one_", "two_"]),
    "splits of streams": (lambda: IterableDatasetDict({"one": stream(), "two": stream()}), ["one_", "two_"]),
    "a dict": (lambda: {"one": ROWS[:2], "two": Dataset.from_list(ROWS[2:4])}, ["one_", "two_"]),
    "a dict of streams": (lambda: {"one": stream(), "two": stream()}, ["one_", "two_"]),
}  # fmt: skip


@pytest.mark.parametrize("what", TRAIN)
def test_training_data_of_every_kind(model, tmp_path, what):
    made = trainer(model, tmp_path, train_dataset=TRAIN[what]())
    made.train()
    assert len(made.history) == 1


@pytest.mark.parametrize("what", HELD_OUT)
@pytest.mark.parametrize("when", ["at first", "when asked"])
def test_held_out_data_of_every_kind(model, tmp_path, what, when):
    make, prefixes = HELD_OUT[what]
    made = trainer(model, tmp_path, {"eval_tasks": 2}, eval_dataset=make() if when == "at first" else None)
    if prefixes is None:
        with pytest.raises(ConfigError, match="nothing to evaluate on"):
            made.evaluate()
        return
    figures = made.evaluate() if when == "at first" else made.evaluate(eval_dataset=make())
    assert all(0 <= figures[f"eval_{prefix}reward"] <= 1 for prefix in prefixes)


@pytest.mark.parametrize("start", [False, True])
def test_evaluation_while_training(model, tmp_path, start):
    told = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "max_steps": 2,
        "num_generations_eval": 1,
        "eval_on_start": start,
    }
    made = trainer(model, tmp_path, told, eval_dataset=ROWS[:2])
    summary = made.train()
    assert summary["before"]["samples"] == 1 and "eval/reward" in made.history[0] and summary["after"]


def test_conversations_as_prompts(chat, tmp_path):
    asked = [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]

    def said(completions, **_):
        return [float(len(messages[0]["content"])) for messages in completions]

    made = trainer(chat, tmp_path, {"template": "default"}, train_dataset=asked, reward_funcs=said)
    made.train()
    assert made.history[0]["rewards/said/mean"] > 0


# Models


def test_models_of_every_kind(model, tmp_path):
    from pathlib import Path

    from mlx_lm import load

    for number, given in enumerate((model, Path(model), load(model)[:2])):
        trainer(given, tmp_path, {"output_dir": str(tmp_path / str(number))}).train()
    network, tokenizer = load(model)[:2]
    trainer(network, tmp_path, {"output_dir": str(tmp_path / "last")}, processing_class=tokenizer).train()


class LoraConfig:
    """With the names of PEFT's."""

    r, lora_alpha, lora_dropout, target_modules, bias, use_rslora, use_dora = (
        4,
        8,
        0.0,
        "all-linear",
        "none",
        False,
        False,
    )


@pytest.mark.parametrize("config", [LoraConfig(), {"r": 4, "target_modules": ["q_proj", "v_proj"], "use_dora": True}])
def test_peft_configs(model, tmp_path, config):
    made = trainer(model, tmp_path, {"gradient_checkpointing": True}, peft_config=config)
    made.train()
    assert made.config.lora.rank == 4
    saved = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert saved["lora_parameters"]["rank"] == 4


def test_saving_and_going_on(model, tmp_path):
    made = trainer(model, tmp_path, {"save_steps": 1})
    made.train()
    made.save_model(tmp_path / "saved")
    assert (tmp_path / "saved" / "adapters.safetensors").exists()
    again = trainer(model, tmp_path, {"save_steps": 1, "max_steps": 2})
    again.train(resume_from_checkpoint=True)
    assert [line["step"] for line in again.history] == [1, 2]
    with pytest.raises(ConfigError, match="must be true or false"):
        again.train(resume_from_checkpoint="run/checkpoint-1")


@pytest.mark.parametrize(
    "name", ["state", "args", "add_callback", "push_to_hub", "predict", "reward_funcs", "ref_model"]
)
def test_what_trls_trainer_has_elsewhere_is_said(tmp_path, name):
    made = trainer("m", tmp_path)
    with pytest.raises(AttributeError, match=f"GRPOTrainer has no {name}: "):
        getattr(made, name)
    assert not hasattr(made, name)


# Tools and environments


def multiply(a: int, b: int) -> int:
    """Multiply two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return a * b


async def multiply_later(a: int, b: int) -> int:
    """Multiply two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return a * b


@pytest.mark.parametrize("tool", [multiply, multiply_later])
def test_tools(chat, tmp_path, tool):
    made = trainer(chat, tmp_path, {"template": "default", "max_tool_calling_iterations": 2}, tools=[tool])
    made.train()
    assert made.history[0]["tools/call_frequency"] == 0  # a tiny model calls none


class Counter:
    """An environment with a tool and a reward of its own."""

    def reset(self, **columns):
        self.count = columns.get("hint", 0)
        return " w30"

    def increment(self, step: int) -> int:
        """Count on.

        Args:
            step: how far.
        """
        self.count += step
        return self.count

    def get_reward(self) -> float:
        return float(self.count)


class Echo:
    """An environment without a reward."""

    def reset(self, **columns):
        assert "environment" not in columns
        return " w31"

    def shout(self, text: str) -> str:
        """Say it loudly.

        Args:
            text: what is said.
        """
        return text.upper()


def test_an_environment_by_factory_owns_its_reward(chat, tmp_path):
    made = trainer(chat, tmp_path, {"template": "default"}, reward_funcs=None, environment_factory=Counter)
    assert made.config.reward_weights == {"Counter": 1.0}
    made.train()
    assert 20 <= made.history[0]["rewards/Counter/mean"] < 30


def test_its_reward_stands_beside_others(chat, tmp_path):
    made = trainer(chat, tmp_path, {"template": "default", "reward_weights": [0.5]}, environment_factory=Counter)
    assert made.config.reward_weights == {"even": 0.5, "Counter": 1.0}
    assert [tool.name for tool in made._env.converse(made._env.tasks("train")[0]).tools] == ["increment"]


def test_several_environments_by_the_column_environment(chat, tmp_path):
    rows = [{**row, "environment": "counter" if place % 2 else "echo"} for place, row in enumerate(ROWS)]
    factories = {"counter": Counter, "again": Counter, "echo": Echo}
    made = trainer(
        chat, tmp_path, {"template": "default", "shuffle_dataset": False}, train_dataset=rows,
        environment_factory=factories,
    )  # fmt: skip
    assert made.config.reward_weights == {"even": 1.0, "Counter": 1.0}
    tasks = made._env.tasks("train")
    assert [[tool.name for tool in made._env.converse(task).tools] for task in tasks[:2]] == [["shout"], ["increment"]]
    made.train()
    assert made.history[0]["rewards/Counter/mean"] == 21.0  # of the second row's rollouts alone


def test_an_environment_that_owns_its_data(chat, tmp_path):
    made = trainer(chat, tmp_path, {"template": "default"}, train_dataset=None, environment_factory=Echo)
    made.train()
    row = json.loads((tmp_path / "run" / "completions" / "step_000001.jsonl").read_text().splitlines()[0])
    assert "w31" in row["prompt"]


def test_rows_of_several_environments_need_no_prompt(chat, tmp_path):
    rows = [{"environment": "echo", "answer": "1"}, {"environment": "counter", "answer": "2"}]
    made = trainer(
        chat, tmp_path, {"template": "default", "shuffle_dataset": False}, train_dataset=rows, eval_dataset=rows,
        environment_factory={"counter": Counter, "echo": Echo},
    )  # fmt: skip
    assert [task.prompt for task in made._env.tasks("train")] == [" w31", " w30"]
    assert "eval_reward" in made.evaluate()


class Random(Echo):
    """Another prompt each time."""

    numbers = iter(range(99))

    def reset(self, **columns):
        return f"w{next(self.numbers)}"


class Silent(Echo):
    """No prompt."""

    def reset(self, **columns):
        return None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"train_dataset": None, "environment_factory": Random}, "reset() returned two different prompts"),
        ({"train_dataset": None, "environment_factory": Silent}, "reset() must return the prompt"),
        (
            {"train_dataset": None, "environment_factory": {"a": Echo}},
            "need a train_dataset with a column 'environment'",
        ),
        (
            {"train_dataset": [{"prompt": "w9", "environment": "chess"}], "environment_factory": {"a": Echo}},
            "its environment 'chess' is not among the environments a",
        ),
        ({"reward_funcs": None, "environment_factory": Echo}, "reward_funcs is empty"),
    ],
)
def test_environments_that_can_not_be_are_one_line(tmp_path, given, said):
    with pytest.raises(ValueError) as refused:
        trainer("m", tmp_path, **given)
    assert said in str(refused.value) and "\n" not in str(refused.value)
