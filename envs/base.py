"""The two records everything else here is made of: a Task (one prompt and what its answer is judged by) and an Env."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envs.conversation import Conversation, Message

Prompt = str | list[Message]
SHOWN = 3  # skipped rows that are named


class DataError(ValueError):
    """Something about an environment or its data that the reader can put right; the message is one clear line."""


def no_option(name: str, option: str, known: Iterable[str]) -> DataError:
    """Return the error for an option that the environment `name` has not: the nearest of those it has, and all."""
    options = list(known)
    near = difflib.get_close_matches(option, options, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return DataError(f"{name} has no option {option!r}; {hint}its options are {', '.join(options)}")


@dataclass(frozen=True)
class Task:
    """One prompt. `columns` (`answer`, `language`, `tests`, ...) are what reward functions receive by name.

    A prompt that is a plain string is put into the model's chat template, or left plain, by whoever trains;
    a list of messages is taken as it is.
    """

    id: str
    prompt: Prompt
    columns: dict[str, Any] = field(default_factory=dict)


class Env:
    """Named splits of tasks, the rewards that judge them, and what was left out while they were read.

    `reward_names` are registered rewards or `"package.module:function"`; the first of them judges the answer.
    `skipped` names every malformed row as `FILE:LINE: what`; `notes` says what else a reader should know, a line each.
    """

    def __init__(
        self,
        name: str,
        splits: Mapping[str, Sequence[Task]],
        *,
        reward_names: Sequence[str] = ("accuracy",),
        skipped: Iterable[str] = (),
        notes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.splits = dict(splits)
        self.reward_names: tuple[str, ...] = tuple(reward_names)
        self.skipped: list[str] = list(skipped)
        self.notes: list[str] = list(notes)
        self.stream: Any = None  # tasks of train that are read as they are needed, where a split holds but the first
        self.buffer = 0  # of them, that training holds at a time

    def tasks(self, split: str = "train") -> Sequence[Task]:
        """The tasks of a split, in their seeded order."""
        if split not in self.splits:
            raise DataError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.splits[split]

    def report(self) -> list[str]:
        """Return lines for the reader: the number of tasks, what was left out and why, the notes."""
        lines = [", ".join(f"{len(tasks)} {split}" for split, tasks in self.splits.items()) + " tasks"]
        if self.skipped:
            more = f" (the first {SHOWN} are shown)" if len(self.skipped) > SHOWN else ""
            lines += [f"skipped {len(self.skipped)} rows that can't be used{more}:"]
            lines += [f"  {line}" for line in self.skipped[:SHOWN]]
        return [*lines, *(f"note: {note}" for note in self.notes)]

    @property
    def converses(self) -> bool:
        """Return whether it has tasks of several turns."""
        return type(self).converse is not Env.converse

    def converse(self, task: Task) -> Conversation | None:
        """The environment's side of one rollout of a task; None where it has but one turn, judged by the rewards."""
        return None


def prompt_key(prompt: Prompt) -> str:
    """Return the key under which two prompts are the same: their text without differences in white space."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False, sort_keys=True)
    return " ".join(text.split())
