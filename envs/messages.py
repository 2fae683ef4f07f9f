"""Read the messages of a conversation as data sets write them, into `{"role", "content"}` with a text as content."""

from collections.abc import Mapping, Sequence
from typing import Any

from envs.base import Message

# ShareGPT's names and others' -> the roles of chat templates
ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "observation": "tool"}


def is_conversation(value: Any) -> bool:
    """Return whether a column holds a list of messages, or the columns of one (role: [...], content: [...])."""
    if isinstance(value, Mapping):
        return any(isinstance(value.get(key), Sequence) and not isinstance(value[key], str) for key in ("role", "from"))
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def read_messages(value: Any, column: str) -> list[Message]:
    """The messages of a column; a ValueError says which one can't be used.

    Besides role and content a message keeps what else it has (`tool_calls`, `name`, ...), without empty keys.
    """
    if isinstance(value, Mapping):  # how `datasets` keeps a Sequence of records: one list a key
        keys = [key for key, values in value.items() if values is not None]
        value = [dict(zip(keys, parts, strict=False)) for parts in zip(*(value[key] for key in keys), strict=False)]
    return [_read(message, column, place) for place, message in enumerate(value, start=1)]


def _read(message: Any, column: str, place: int) -> Message:
    where = f"message {place} of {column}"
    if not isinstance(message, Mapping):
        raise ValueError(f"{where} must have a role and a content, got {type(message).__name__} {message!r:.40}")
    if message.get("role") is None and "from" in message:
        message = {"role": message["from"], "content": message.get("value")}
    role = message.get("role")
    if not isinstance(role, str):
        raise ValueError(f"{where} must have a role that is a text, got {role!r:.40}")
    rest = {key: part for key, part in message.items() if key not in ("role", "content") and part not in (None, [])}
    content = message.get("content")
    if content is None and rest.get("tool_calls"):
        content = ""
    return {"role": ROLES.get(role, role), "content": content_text(content, where), **rest}


def content_text(content: Any, where: str) -> str:
    """The text of a content: itself, or its text parts joined; a ValueError for an image or anything else."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Sequence) or not content:
        raise ValueError(f"{where} must have a content that is a text or a list of text parts, got {content!r:.40}")
    texts = []
    for part in content:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"{where} has a part of type {kind!s:.40}: only text can be trained on")
        texts.append(text)
    return "".join(texts)


def until_last_user_turn(messages: Sequence[Message], column: str) -> tuple[list[Message], str | None]:
    """The messages up to the user's last one, and what the assistant said to that, None if nothing."""
    asked = [place for place, message in enumerate(messages) if message["role"] == "user"]
    if not asked:
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(f"{column} has no message of a user to answer, its roles are {roles}")
    said = [message["content"] for message in messages[asked[-1] + 1 :] if message["role"] == "assistant"]
    return list(messages[: asked[-1] + 1]), said[-1] if said else None
