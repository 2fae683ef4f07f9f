"""Rows, rewards and settings of the tests of the Python interface."""

import json

import pytest

from grpo import GRPOConfig, GRPOTrainer

ROWS = [{"prompt": f"w{n} w9 w10", "answer": str(n), "hint": n} for n in range(20, 30)]


def even(completion_ids, **_):
    """The share of even tokens: something that differs and can be learned."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


@pytest.fixture
def settings(tmp_path):
    return {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 2,
        "num_generations": 4,
        "max_completion_length": 6,
        "template": "plain",
        "fine_tune": "full",
        "learning_rate": 1e-3,
        "reward_process": "trainer",  # no process to be started each time
    }


@pytest.fixture
def model(tiny, tmp_path):
    return str(tiny.directory(tmp_path / "model"))


TEMPLATE = (
    "{% for m in messages %}{{ 'w3 ' if m['role'] == 'user' else 'w4 ' }}{{ m['content'] }}{{ ' w2 ' }}{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ 'w5 ' }}{% endif %}"
)
TRL = {  # what nearly all of them set
    "learning_rate": 0.1,
    "per_device_train_batch_size": 4,
    "num_generations": 2,
    "max_completion_length": 4,
    "max_steps": 1,
    "report_to": "none",
}
OURS = {"template": "plain", "reward_process": "trainer"}  # no chat template; no process to be started each time


@pytest.fixture
def chat(tiny, tmp_path):
    """A tiny model with a chat template."""
    folder = tiny.directory(tmp_path / "chat")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": TEMPLATE}))
    return str(folder)


def trainer(model, tmp_path, args=None, **given):
    settings = {**TRL, **OURS, "output_dir": str(tmp_path / "run"), **(args or {})}
    settings = {name: value for name, value in settings.items() if value != "default"}
    return GRPOTrainer(
        **{"model": model, "reward_funcs": even, "train_dataset": ROWS, **given}, args=GRPOConfig(**settings)
    )
