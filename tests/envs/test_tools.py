"""Functions as tools: the schema a model is shown, how its calls are read, and what it is answered."""

import time
from typing import Literal

import pytest

from envs import Env, Task
from envs.tools.calls import DEEPSEEK, HARMONY, LLAMA, TAGS, format_of, said
from envs.tools.conversation import ToolConversation, ToolEnv
from envs.tools.functions import FunctionTool, ToolFault, schema_of


def weather(city: str, days: int = 1, unit: Literal["c", "f"] = "c", tags: list[str] | None = None) -> str:
    """Say the weather.

    It is always the same.

    Args:
        city: the place,
            as people call it
        days (int): how many
    Returns:
        what it is like
    """
    return f"{city} {days + 1} {unit} {tags}"


def test_signature_and_docstring_become_the_schema():
    assert schema_of(weather, "weather") == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Say the weather.\n\nIt is always the same.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "the place, as people call it"},
                    "days": {"type": "integer", "description": "how many"},
                    "unit": {"type": "string", "enum": ["c", "f"]},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["city"],
            },
        },
    }


def test_arguments_are_converted_and_results_are_text():
    assert FunctionTool(weather).call({"city": "Rome", "days": "3"}) == "Rome 4 c None"
    assert FunctionTool(lambda x: {"found": [x]}).call({"x": 1}) == '{"found": [1]}'


async def later(x: int) -> int:
    return x + 1


def test_an_async_function_is_awaited():
    assert FunctionTool(later).call({"x": 1}) == "2"


@pytest.mark.parametrize(
    ("function", "arguments", "fault"),
    [
        (weather, {}, "city: Missing required argument"),
        (weather, {"city": "Rome", "days": "many"}, "days: Input should be a valid integer"),
        (weather, {"city": "Rome", "moon": 1}, "moon: Unexpected keyword argument"),
        (lambda: 1 / 0, {}, "ZeroDivisionError: division by zero"),
        (lambda: exit(3), {}, "SystemExit: 3"),
        (lambda: time.sleep(60), {}, "took longer than 0.2 s"),
    ],
)
def test_what_goes_wrong_is_said(function, arguments, fault):
    with pytest.raises(ToolFault, match=fault):
        FunctionTool(function, timeout_seconds=0.2 if "0.2" in fault else 10).call(arguments)


def test_a_result_of_ten_megabytes_is_cut():
    assert len(FunctionTool(lambda: "x" * 10_000_000).call({})) < 101_000


ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
CALLS = [
    (TAGS, 'so <tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>', [ADD]),
    (TAGS, '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>' * 2, [ADD, ADD]),
    (TAGS, '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}', [ADD]),  # not closed
    (TAGS, "3", []),
    (LLAMA, '{"name": "add", "parameters": {"a": 1, "b": 2}}', [ADD]),
    (LLAMA, '<|python_tag|>{"name": "add", "parameters": {"a": 1, "b": 2}}', [ADD]),
    (LLAMA, "The sum is {3}.", []),
    (
        HARMONY,
        "<|channel|>analysis<|message|>Add.<|end|><|start|>assistant<|channel|>commentary to=functions.add "
        '<|constrain|>json<|message|>{"a": 1, "b": 2}',
        [ADD],
    ),
    (
        DEEPSEEK,
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"a": 1, "b": 2}\n```<｜tool▁call▁end｜>',  # noqa: E501
        [ADD],
    ),
    (DEEPSEEK, '<｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1, "b": 2}<｜tool▁call▁end｜>', [ADD]),
]


@pytest.mark.parametrize(("calls", "text", "expected"), CALLS)
def test_calls_are_read_in_every_form(calls, text, expected):
    message = said(text, calls, [])
    assert [call["function"] for call in message.get("tool_calls", [])] == expected
    assert message["content"] == text and "tool_faults" not in message


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<tool_call>add(1, 2)</tool_call>", "JSONDecodeError"),
        ("<tool_call>[1]</tool_call>", "a call must be an object"),
        ('<tool_call>{"arguments": {}}</tool_call>', "a call must be an object"),
        ('<tool_call>{"name": "add", "arguments": [1]}</tool_call>', "must be an object, got list"),
        ("<tool_call>", "JSONDecodeError"),
        ("<tool_call>" * 20_000, "JSONDecodeError"),
    ],
)
def test_a_malformed_call_is_a_fault_of_one_line(text, fault):
    message = said(text, TAGS, [])
    assert fault in message["tool_faults"][0] and len(message["tool_faults"][0]) <= 200
    assert "tool_calls" not in message


def test_the_form_is_found_in_the_template():
    assert format_of("{{ tool_call }}") is TAGS
    assert format_of("<|python_tag|>") is LLAMA
    assert format_of("<|channel|> to=functions.") is HARMONY


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def conversation_says(text):
    return ToolConversation([add]).reply(said(text, TAGS, []))


def test_calls_are_answered_and_a_message_without_one_ends():
    reply = conversation_says('<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>')
    assert reply.messages == [{"role": "tool", "name": "add", "content": "3", "tool_call_id": "call00000"}]
    assert not reply.done and reply.info == {"tool_calls": 1, "tool_failures": 0, "malformed_calls": 0}
    assert conversation_says("It is 3.").done


@pytest.mark.parametrize(
    ("text", "answer", "malformed"),
    [
        ('<tool_call>{"name": "sub", "arguments": {}}</tool_call>', "error: there is no tool sub; there is add", 0),
        ('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', "error: b: Missing required argument", 0),
        ("<tool_call>1 + 2</tool_call>", "error: not a tool call: JSONDecodeError", 1),
    ],
)
def test_a_call_that_fails_is_answered_with_an_error_and_counted(text, answer, malformed):
    reply = conversation_says(text)
    assert reply.messages[0]["content"].startswith(answer) and not reply.done
    assert reply.info == {"tool_calls": 1, "tool_failures": 1, "malformed_calls": malformed}


def test_an_environment_gets_tools_the_same_or_fresh_for_each_rollout():
    task = Task("1", "1 + 1")
    env = Env("sums", {"train": [task]})
    assert [tool.name for tool in ToolEnv(env, [add]).converse(task).tools] == ["add"]
    fresh = ToolEnv(env, fresh=lambda: [FunctionTool(add)])
    assert fresh.converse(task).tools[0] is not fresh.converse(task).tools[0]
    assert list(fresh.tasks("train")) == [task]


def broken(kind: str) -> str:
    raise KeyError(kind)


def test_the_traceback_of_a_tool_that_raises_is_kept_and_that_of_a_wrong_call_is_not():
    talk = ToolConversation([broken, add])
    call = {"id": "1", "function": {"name": "broken", "arguments": {"kind": "x"}}}
    (text,) = talk.reply({"role": "assistant", "content": "", "tool_calls": [call]}).tracebacks
    assert text.startswith("Traceback") and "in broken" in text and text.endswith("KeyError: 'x'\n")
    wrong = [
        {"id": "1", "function": {"name": "add", "arguments": {"a": "many", "b": 1}}},
        {"id": "2", "function": {"name": "sub", "arguments": {}}},
    ]
    assert talk.reply({"role": "assistant", "content": "", "tool_calls": wrong}).tracebacks == []
