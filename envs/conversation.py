"""Records of conversations: an environment hears each of the model's messages and replies."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Message = dict[str, Any]  # role and content; the model's may hold tool_calls, as OpenAI writes them


@dataclass
class Reply:
    """An environment's answer to one of the model's messages.

    `messages` are shown to the model (role user, tool or system), `done` ends the conversation after them, `rewards`
    are what the turn earned by name (the reward `environment` sums them up), `info` goes to the completion rows.
    `tracebacks` are those of tools that raised, for log.txt.
    """

    messages: list[Message] = field(default_factory=list)
    done: bool = False
    rewards: Mapping[str, float] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    tracebacks: Sequence[str] = ()


class Tool(Protocol):
    """A function the model may call, as its chat template shows it."""

    @property
    def name(self) -> str:
        """The name that the model calls it by."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the function: {"type": "function", "function": {"name", "description", "parameters"}}."""


class Conversation(Protocol):
    """One rollout's side of an environment. `reply` may block or be async; it runs in a thread of its own.

    A conversation that has a method `close` is closed when it is over. One is also made for every task, to show its
    tools, and never spoken to: what costs time belongs into the first `reply`.
    """

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools the model may call; a plain attribute will do."""

    def reply(self, message: Message) -> "Reply | Awaitable[Reply]":
        """Answer the model's message."""
