"""A person in the model's seat: `python -m envs play NAME`."""

import asyncio
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from envs.base import DataError, Env, Task
from envs.conversation import Message, Reply
from envs.tools.calls import FIRST_ID, TAGS, said
from rewards.printable import say

HOW = 'Write what the model would. A call: <tool_call>{"name": "...", "arguments": {}}</tool_call>. An empty line ends.'
MOST_SHOWN = 500  # characters of a reply
MADE_UP: dict[str, Any] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}, "null": None}


def play(env: Env, number: int, lines: Iterable[str], out: TextIO = sys.stdout) -> float:
    """Show a task, answer each line as the environment answers the model, and return the sum of its rewards."""
    tasks = env.tasks("train")
    if not 0 <= number < len(tasks):
        raise DataError(f"{env.name} has tasks 0 to {len(tasks) - 1}, not {number}")
    task = tasks[number]
    talk = env.converse(task)
    if talk is None:
        raise DataError(f"{env.name} does not answer: its tasks have one turn (python -m envs show {env.name})")
    say(shown_prompt(task), out)
    for line in tool_lines(talk.tools):
        say(line, out)
    say(HOW, out)
    total = 0.0
    try:
        for line in lines:
            text = line.rstrip("\n")
            if not text:
                break
            message: Message = {"role": "assistant", "content": text}
            if talk.tools:
                message = said(text, TAGS, [tool.schema for tool in talk.tools])
            reply = _reply(talk, message)
            total += sum(reply.rewards.values())
            for one in reply.messages:
                say(f"{one['role']}: {one['content']}", out)
            if reply.rewards:
                say(f"  rewards {json.dumps(dict(reply.rewards))}", out)
            if reply.done:
                break
    finally:
        close = getattr(talk, "close", None)
        if close is not None:
            close()
    say(f"over; rewards in all {total:g}", out)
    return total


def turn_lines(talk: Any, task: Task) -> list[str]:
    """Return what a conversation says to one made-up turn of the model: a call of its first tool, or an answer."""
    if talk.tools:
        tool = talk.tools[0]
        arguments = made_up(tool.schema["function"]["parameters"])
        call = {"id": FIRST_ID, "type": "function", "function": {"name": tool.name, "arguments": arguments}}
        message: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
        lines = [f"  assistant, made up: {tool.name}({json.dumps(arguments)})"]
    else:
        message = {"role": "assistant", "content": str(task.columns.get("answer") or "I do not know.")}
        lines = [f"  assistant, made up: {message['content']}"]
    try:
        reply = _reply(talk, message)
    except Exception as error:  # the boundary: an environment may fail in any way
        return [*lines, f"  the environment failed: {type(error).__name__}: {error}"]
    finally:
        close = getattr(talk, "close", None)
        if close is not None:
            close()
    lines += [f"  {one['role']}: {one['content'][:MOST_SHOWN]}" for one in reply.messages]
    if reply.rewards:
        lines.append(f"  rewards {json.dumps(dict(reply.rewards))}")
    return [*lines, "  the conversation is over"] if reply.done else lines


def made_up(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of the types that a tool's JSON schema asks for."""
    properties = schema.get("properties", {})
    return {
        name: (one.get("enum") or [MADE_UP.get(str(one.get("type")), "1")])[0]
        for name, one in properties.items()
        if name in schema.get("required", properties)
    }


def shown_prompt(task: Task) -> str:
    """A task's prompt, a line a message."""
    if isinstance(task.prompt, str):
        return task.prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in task.prompt)


def tool_lines(tools: Iterable[Any]) -> list[str]:
    """One line a tool: how it is called and what it does."""
    lines = []
    for tool in tools:
        function = tool.schema["function"]
        names = ", ".join(function["parameters"].get("properties", {}))
        lines.append(f"  tool {tool.name}({names}): {' '.join(str(function.get('description', '')).split())}")
    return lines


def _reply(talk: Any, message: Message) -> Reply:
    found = talk.reply(message)

    async def wait() -> Any:
        return await found

    reply: Reply = asyncio.run(wait()) if inspect.isawaitable(found) else found
    return reply
