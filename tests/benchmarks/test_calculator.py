"""The calculator's task, its cold start and the little language of its model."""

import random

import pytest
from mlx_lm.utils import load_tokenizer

from benchmarks import calculator
from grpo.rollout.writing import ChatWriter


def test_what_is_held_out_is_never_trained_on():
    env = calculator.without_tool(seed=3)
    train, test = ({task.id for task in env.tasks(split)} for split in ("train", "test"))
    assert len(train) == calculator.TASKS and len(test) == calculator.HELD_OUT and not train & test
    assert all(task.columns["answer"] == str(eval(task.id)) for task in env.tasks("test"))
    started = {row["messages"][0]["content"] for row in calculator.cold_start(random.Random(0))}
    assert not started & test


def test_with_and_without_the_tool_the_tasks_are_the_same():
    one, other = calculator.with_tool(seed=1), calculator.without_tool(seed=1)
    assert [task.id for task in one.tasks("train")] == [task.id for task in other.tasks("train")]
    assert one.converses and not other.converses


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "random"
    calculator._random_model(folder)
    return load_tokenizer(folder)


def test_the_model_s_language_is_read_and_written_as_tokens(tokenizer):
    tool = calculator.with_tool().converse(None).tools[0]
    asked = f'<tool_call>{calculator.CALL}12*34"}}}}</tool_call>'
    tokens = tokenizer.encode(asked, add_special_tokens=False)
    assert len(tokens) == 4 + 5 and tokenizer.decode(tokens) == asked  # four marks, five signs
    writer = ChatWriter(tokenizer, "chat", tokenizer.eos_token_ids, max_reply_tokens=32)
    message = writer.message(tokens, [tool])
    assert message["tool_calls"][0]["function"] == {"name": "calculator", "arguments": {"expression": "12*34"}}
    reply = writer.reply(message, [{"role": "tool", "name": "calculator", "content": "408"}], stopped=True)
    assert tokenizer.decode(reply) == "<tool>408<assistant>"


def test_the_table_has_each_seed_and_the_calls():
    run = {"points": [(0, 0.25), (40, 0.75)], "calls": [0.5, 1.0], "seconds": 60.0}
    text = calculator.table({"with": [run, run], "without": [{**run, "calls": []}]})
    assert "| with | 0.250 | 0.750, 0.750 | 0.750 | 0.50 → 1.00 |" in text
    assert "| without | 0.250 | 0.750 | 0.750 |  |" in text
