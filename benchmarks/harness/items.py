"""items.jsonl: one line a completion, written as groups finish, read back when a run goes on.

Several processes may append to one file. A line that was being written when a process was killed is skipped by the
reader, as is one that has changed since; what follows starts on a line of its own.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rewards.lines import KEY, append, intact

FILE = "items.jsonl"


@dataclass(frozen=True)
class Item:
    """One completion and what it is worth."""

    id: str  # where the problem stands in its source
    problem: int  # its place among all problems, from 0
    sample: int
    labels: dict[str, str]  # subject, level, language, ...
    prompt: str  # as the model saw it
    completion: str
    reference: str | None
    answer: str | None  # what was taken for the final answer
    vote: int | None  # answers with the same number are the same answer, 0 is the right one; None: no vote
    scores: dict[str, float | None]  # by reward; None: it has no value here
    tokens: int
    thinking_tokens: int | None  # before </think>; None where nothing opens or closes the thinking
    stop_reason: str
    messages: list[dict[str, Any]] | None = None  # of the conversation after the prompt, where tools answered


class ItemFile:
    """The items of an output directory."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> dict[tuple[int, int], Item]:
        """By (problem, sample); the first of several."""
        found: dict[tuple[int, int], Item] = {}
        if not self.path.exists():
            return found
        names = {field.name for field in fields(Item) if field.name != "messages"}  # which earlier files lack
        with self.path.open("rb") as handle:
            for line in handle:
                row = _parsed(line)
                if row is not None and row.keys() - {"messages"} == names:
                    item = Item(**row)
                    found.setdefault((item.problem, item.sample), item)
        return found

    def append(self, items: Sequence[Item]) -> None:
        """Write these lines at once, whoever else writes; on the disk when this returns."""
        append(self.path, [json.dumps(asdict(item), ensure_ascii=False) for item in items])


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not intact(line):
        return None
    row.pop(KEY, None)
    return row
