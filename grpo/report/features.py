"""Figures of a completion's text: whether it re-checks itself, and whether it keeps to one script."""

import re
from collections.abc import Mapping
from typing import Any

from rewards.form.scripts import latin_words, other_words

MOST_STOP = 200  # characters of the reason why a completion ended
RECHECKS = re.compile(
    r"\b(?:wait|hold on|hmm+|on second thought|double[- ]check\w*|re-?check\w*|re-?examin\w*|re-?evaluat\w*)\b"
    r"|\blet(?:'s| us| me) (?:\w+ )?(?:check|verify|think again|reconsider|try again|go back)\b"
    r"|等等|等一下|再检查|重新检查|再想想|不对",
    re.IGNORECASE,
)


def said_by_model(row: Mapping[str, Any]) -> str:
    """What the model wrote in a row: its completion, or its messages of a conversation."""
    messages = row.get("messages")
    if isinstance(messages, list) and isinstance(row.get("turns"), list):
        own = [one for one in after_prompt(messages) if isinstance(one, dict) and one.get("role") == "assistant"]
        return "\n".join(str(one.get("content") or "") for one in own)
    return str(row.get("completion") or "")


def stop_of(row: Mapping[str, Any]) -> str:
    """Why the completion of a row ended, or its conversation, in at most MOST_STOP characters."""
    return str(row.get("ended") or row.get("stop_reason") or "")[:MOST_STOP]


def after_prompt(messages: list[Any]) -> list[Any]:
    """The messages from the model's first one on."""
    roles = [one.get("role") if isinstance(one, dict) else None for one in messages]
    return messages[roles.index("assistant") :] if "assistant" in roles else messages


def rechecks(text: str) -> bool:
    """Return whether the text turns back on itself: wait, let me check, and the like in English and Chinese."""
    return RECHECKS.search(text) is not None


def one_script(text: str) -> float | None:
    """The share of words in the script that most words are in; None without words."""
    if text.isascii():
        return 1.0 if any(map(str.isalpha, text)) else None
    counts = [len(words) for words in other_words(text).values()] + [len(latin_words(text))]
    return max(counts) / sum(counts) if sum(counts) else None
