"""Conversations of a batch's rows: who is asked, when, and what follows from the reply.

An environment replies in a thread of its own while other rows are decoded. One that hangs, raises or returns something
else than a Reply ends its row's conversation, which is recorded; it neither stops nor delays the batch.
"""

import asyncio
import inspect
import math
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from envs import Conversation, Env, Message, Reply, Task, Tool
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.rollout.writing import ChatWriter
from grpo.types import Dialogue, Ending

# Decoding waits this long for replies, in all, so that those of quick environments join at the same step every time
WAIT_SECONDS, WAIT_SHARE = 0.03, 0.04  # the second of the seconds since the first question
POLL_SECONDS = 0.1  # between looks at the stop flag while every row waits


class Writer(Protocol):
    """Between tokens and messages, as `grpo.rollout.writing.ChatWriter` does it."""

    def message(self, tokens: Sequence[int], tools: Sequence[Tool]) -> Message:
        """Return what the model said, with its tool calls if it has tools."""

    def reply(self, message: Message, replies: Sequence[Message], *, stopped: bool) -> list[int]:
        """Return the tokens from the end of the model's message to the beginning of its next one."""


@dataclass(frozen=True)
class Dialogues:
    """With whom the rows of a batch converse, in what words, and within what bounds."""

    converse: Callable[[Task], Conversation | None]  # None for a task of one turn
    writer: Writer
    max_turns: int = 8  # of the model
    max_tokens: int | None = None  # of a conversation, replies included
    timeout_seconds: float = 30.0  # of a reply
    wait: bool = False  # decode on only when all replies have come

    def open(self, task: Task) -> "Talk | None":
        """Begin a conversation; one that can't be made fails when it is first asked."""
        try:
            conversation = self.converse(task)
        except Exception as error:  # the boundary: an environment may fail in any way
            conversation = _Broken(error)
        return None if conversation is None else Talk(conversation)


def dialogues_of(env: Env, tokenizer: Any, settings: Config, ends: Collection[int]) -> Dialogues | None:
    """Return how an environment's rollouts converse; None where none has several turns. `ends` end a turn."""
    if not env.converses:
        return None
    return Dialogues(
        env.converse,
        ChatWriter(
            tokenizer,
            settings.template,
            ends,
            max_reply_tokens=settings.max_reply_length,
            arguments=settings.chat_template_kwargs,
        ),
        max_turns=settings.max_turns,
        max_tokens=settings.max_conversation_length,
        timeout_seconds=settings.reply_timeout_seconds,
        wait=settings.wait_for_replies,
    )


def tools_for(env: Env, task: Task) -> Sequence[Tool]:
    """Return the tools that a task is shown with. An environment that fails here is a ConfigError of one line."""
    try:
        conversation = env.converse(task)
        return () if conversation is None else list(conversation.tools)
    except Exception as error:  # the boundary: an environment may fail in any way
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ConfigError(f"{env.name}: converse failed on task {task.id}: {text}") from error


class _Broken:
    tools: Sequence[Tool] = ()

    def __init__(self, error: Exception) -> None:
        self.error = error

    def reply(self, message: Message) -> Reply:
        raise self.error


@dataclass(eq=False)
class Talk:
    """One row's conversation so far."""

    conversation: Conversation
    messages: list[Message] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)  # tokens of each of the model's
    rewards: list[dict[str, float]] = field(default_factory=list)
    info: list[dict[str, Any]] = field(default_factory=list)
    tool_tracebacks: list[str] = field(default_factory=list)
    asked: float | None = None  # since when it is waited for
    ended: Ending | None = None
    problem: str | None = None
    traceback: str | None = None
    thread: threading.Thread | None = None  # in which the environment replies

    @property
    def text(self) -> str:
        """Return the text of all the model's turns."""
        return "\n".join(str(message["content"]) for message in self.messages if message["role"] == "assistant")

    def hear(
        self, reply: "Reply | Failure", rules: Dialogues, tokens: Sequence[int], *, stopped: bool
    ) -> list[int] | None:
        """Take in a reply after these tokens; return what the model is to read of it, None at the end."""
        self.asked = None
        if isinstance(reply, Failure):
            self.rewards.append({})
            self.info.append({})
            self.ended, self.problem, self.traceback = reply.kind, reply.problem, reply.traceback
            return None
        said = self.messages[-1]
        self.rewards.append({name: float(value) for name, value in reply.rewards.items()})
        self.info.append(dict(reply.info))
        self.tool_tracebacks += reply.tracebacks
        if reply.done or len(self.turns) == rules.max_turns:
            self.messages += reply.messages
            self.ended = "done" if reply.done else "max_turns"
            return None
        read = rules.writer.reply(said, reply.messages, stopped=stopped)
        if rules.max_tokens is not None and len(tokens) + len(read) >= rules.max_tokens:
            self.ended = "length"
            return None
        self.messages += reply.messages
        return read

    def mask(self, length: int) -> tuple[int, ...]:
        """1 at the model's tokens, [length]."""
        mask = [0] * length
        for begin, end in self.turns:
            mask[begin:end] = [1] * (end - begin)
        return tuple(mask)

    def record(self) -> Dialogue:
        """Return the finished conversation, and close the environment's side of it."""
        assert self.ended is not None
        close = getattr(self.conversation, "close", None)
        if close is not None:
            threading.Thread(target=_quietly, args=(close,), name="close", daemon=True).start()
        return Dialogue(
            tuple(self.messages),
            tuple(self.turns),
            tuple(self.rewards),
            self.ended,
            self.problem,
            tuple(self.info),
            getattr(self.conversation, "environment", None),
            self.traceback,
            tuple(self.tool_tracebacks),
        )


@dataclass(frozen=True)
class Failure:
    """The failure that came in place of a reply."""

    kind: Ending  # timeout or error
    problem: str
    traceback: str | None = None


class Desk:
    """Puts questions to environments and hands back what they reply."""

    def __init__(self, rules: Dialogues) -> None:
        self.rules = rules
        self._replies: queue.SimpleQueue[tuple[Talk, int, Reply | Failure]] = queue.SimpleQueue()
        self._open: dict[Talk, int] = {}  # the turn that each is asked about
        self._first: float | None = None
        self._waited = 0.0

    def ask(self, talk: Talk, tokens: Sequence[int], begin: int, *, stopped: bool) -> None:
        """Have the environment reply to the turn that begins at `begin`, in a thread of its own."""
        said = tokens[begin : len(tokens) - stopped]
        message = self.rules.writer.message(said, talk.conversation.tools)
        talk.messages.append(message)
        talk.turns.append((begin, len(tokens)))
        talk.asked = time.monotonic()
        self._first = self._first or talk.asked
        self._open[talk] = len(talk.turns)
        # a daemon: a thread can't be ended, and a tool that hangs must not keep the run from ending
        talk.thread = threading.Thread(target=self._reply, args=(talk, dict(message)), name="environment", daemon=True)
        talk.thread.start()

    def take(self, *, idle: bool, tick: Callable[[], None]) -> dict[Talk, "Reply | Failure"]:
        """Return the replies that have come; waits for one if `idle`, calling `tick` meanwhile."""
        heard: dict[Talk, Reply | Failure] = {}
        begin = time.monotonic()
        patience = WAIT_SECONDS + WAIT_SHARE * (begin - (self._first or begin)) - self._waited
        while self._open:
            now = time.monotonic()
            for talk in [talk for talk in self._open if now - (talk.asked or now) > self.rules.timeout_seconds]:
                del self._open[talk]
                heard[talk] = Failure(
                    "timeout", f"no reply after {self.rules.timeout_seconds:g} s", _stack(talk.thread)
                )
            if not self._open:
                break
            left = patience - (now - begin)
            must = self.rules.wait or (idle and not heard and left <= 0)
            left = POLL_SECONDS if must else left
            try:
                talk, turn, reply = self._replies.get(timeout=left) if left > 0 else self._replies.get_nowait()
            except queue.Empty:
                if not must:
                    break
                tick()
                continue
            if self._open.get(talk) == turn:
                del self._open[talk]
                heard[talk] = reply
        if not idle and not self.rules.wait:
            self._waited += time.monotonic() - begin
        return heard

    def _reply(self, talk: Talk, message: Message) -> None:
        turn = len(talk.turns)
        try:
            found = talk.conversation.reply(message)
            reply = checked(_awaited(found) if inspect.isawaitable(found) else found)
        except BaseException as error:  # the boundary: whatever an environment does is recorded, not raised
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            reply = Failure("error", text, "".join(traceback.format_exception(error)))
        self._replies.put((talk, turn, reply))


def checked(reply: Any) -> "Reply | Failure":
    """Return a reply as it is, or what is wrong with it."""
    if not isinstance(reply, Reply):
        return Failure("error", f"reply returned {type(reply).__name__}, not a Reply")
    for message in reply.messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return Failure("error", f"a reply's messages need a role and a content, got {str(message)[:100]}")
        if not isinstance(message.get("content"), str):
            return Failure("error", f"a message's content must be a text, got {type(message.get('content')).__name__}")
    for name, value in reply.rewards.items():
        if not hasattr(value, "__float__") or not math.isfinite(float(value)):
            return Failure("error", f"the reply's reward {name} is {value!r}, not a finite number")
    return reply


def _stack(thread: threading.Thread | None) -> str | None:
    """Return where a thread is; None if it is over."""
    frame = sys._current_frames().get(thread.ident) if thread is not None and thread.ident is not None else None
    return None if frame is None else "".join(traceback.format_stack(frame))


def _quietly(close: Callable[[], Any]) -> None:
    try:
        found = close()
        if inspect.isawaitable(found):
            _awaited(found)
    except Exception:  # the conversation is over; what its end breaks concerns nobody
        return


def _awaited(reply: Any) -> Any:
    async def wait() -> Any:
        return await reply

    return asyncio.run(wait())
