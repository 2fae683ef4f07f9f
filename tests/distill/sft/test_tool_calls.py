"""Conversations with tools as training text, by the chat templates of five families."""

import pytest

from distill.sft.examples import Renderer, Rendering
from tests.grpo.rollout.test_tool_formats import load  # noqa: F401
from tests.grpo.rollout.tool_templates import FAMILIES

SCHEMA = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}
CALL = {"id": "k3Vt9qLm2", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}
MESSAGES = [
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "add", "tool_call_id": "k3Vt9qLm2", "content": "5"},
    {"role": "assistant", "content": "It is 5."},
]
HEADS = {"gpt-oss": "<|channel|>final<|message|>"}
ENDS = {"gpt-oss": "<|return|>"}  # of the last turn, where it is another than of a call


@pytest.mark.parametrize("name", FAMILIES)
def test_calls_and_answers_are_trained_on_and_results_are_not(load, name):  # noqa: F811
    family = FAMILIES[name]
    tokenizer = load(family)
    examples = Renderer(tokenizer, Rendering()).examples(MESSAGES, [SCHEMA])
    turns = []
    for example in examples:
        counted = [token for token, counts in zip(example.tokens, example.trained_mask, strict=True) if counts]
        turns.append(tokenizer.decode(counted))
    call = family.called + family.stops[0]
    answer = f"{HEADS.get(name, '')}It is 5.{ENDS.get(name, family.stops[0])}"
    assert "".join(turns) == call + answer
    assert family.answered in tokenizer.decode(list(examples[-1].tokens))
