"""A conversation in which the model calls tools until it answers without a call."""

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from envs.base import Env, Task
from envs.conversation import Conversation, Message, Reply
from envs.tools.functions import ToolFault, tools_of

INSTRUCTIONS = (
    "You can call these functions:\n{tools}\n"
    "To call one, write a JSON object with its name and its arguments between tags, and stop:\n"
    '<tool_call>{{"name": "...", "arguments": {{...}}}}</tool_call>\n'
    "You are told the result and can call again. Answer without a call when you are done."
)


class ToolConversation:
    """Answers every tool call of a message; a message without one ends the conversation.

    A call that can't be read, an unknown name, arguments that don't fit, an exception or a late result are answered
    with an error that the model can learn from. `info` counts: tool_calls, tool_failures (malformed ones included) and
    malformed_calls.
    """

    def __init__(self, tools: Iterable[Any]) -> None:
        self.tools: Sequence[Any] = tools_of(tools)

    def reply(self, message: Message) -> Reply:
        """Run the message's calls, one after the other."""
        calls, faults = message.get("tool_calls", []), message.get("tool_faults", [])
        raised: list[str] = []
        results = [self.answer(call, raised) for call in calls]
        said = [result for result, _ in results]
        said += [_said("", f"error: not a tool call: {fault}") for fault in faults]
        failed = sum(not fine for _, fine in results) + len(faults)
        info = {"tool_calls": len(calls) + len(faults), "tool_failures": failed, "malformed_calls": len(faults)}
        return Reply(said, done=not said, info=info, tracebacks=raised)

    def close(self) -> None:
        """Close the tools that hold something."""
        for tool in self.tools:
            close = getattr(tool, "close", None)
            if close is not None:
                close()

    def answer(self, call: Mapping[str, Any], raised: list[str]) -> tuple[Message, bool]:
        """Return the message that answers a call, and whether it worked; the traceback of a tool goes to `raised`."""
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        tool = next((tool for tool in self.tools if tool.name == name), None)
        if tool is None:
            known = ", ".join(tool.name for tool in self.tools)
            return _said(name, f"error: there is no tool {name}; there is {known}", call), False
        try:
            return _said(name, tool.call(arguments), call), True
        except ToolFault as fault:
            if fault.__cause__ is not None and not isinstance(fault.__cause__, ToolFault):  # no fault of the call
                raised.append("".join(traceback.format_exception(fault.__cause__)))
            return _said(name, f"error: {fault}", call), False


def _said(name: str, content: str, call: Mapping[str, Any] | None = None) -> Message:
    return {"role": "tool", "name": name, "content": content, **({"tool_call_id": call["id"]} if call else {})}


class ToolEnv(Env):
    """An environment's tasks, with tools to do them.

    `tools` are functions or tools, the same for every rollout, or, with `fresh`, a function that makes them for each.
    """

    def __init__(self, env: Env, tools: Sequence[Any] | None = None, fresh: Callable[[], Iterable[Any]] | None = None):
        super().__init__(env.name, env.splits, reward_names=env.reward_names, skipped=env.skipped, notes=env.notes)
        self._tools = tools_of(tools or [])
        self._fresh = fresh

    def converse(self, task: Task) -> Conversation:
        """A conversation about a task."""
        return ToolConversation(self._tools if self._fresh is None else self._fresh())
