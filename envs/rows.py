"""One row of anybody's data set -> one Task, or the reason why not."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.base import DataError, Prompt, Task

PROMPT_COLUMNS = ("prompt", "question", "problem")
ANSWER_COLUMN = "answer"
RESERVED_COLUMNS = frozenset({"prompt", "prompts", "completion", "completions", "completion_ids"})
GSM8K_MARK = "####"

Row = tuple[str, Any]  # where it stands (`FILE:LINE`), and a mapping, or a ValueError for what could not be read


@dataclass(frozen=True)
class Columns:
    """Where a row keeps its prompt and its answer (None: look for the usual names), and what to add."""

    prompt: str | None = None
    answer: str | None = None
    answer_required: bool = True
    language: str | None = None
    suffix: str = ""


def tasks_from_rows(
    rows: Iterable[Row], columns: Columns, *, source: str, strict: bool
) -> tuple[list[Task], list[str]]:
    """Reads every row; returns the tasks and the malformed rows as `FILE:LINE: what`.

    Every task gets the same columns, None where its row lacks one. Under `strict` the first malformed row is
    fatal; otherwise only having no usable row is.
    """
    tasks: list[Task] = []
    skipped: list[str] = []
    for place, row in rows:
        try:
            tasks.append(task_from_row(row, columns, place))
        except ValueError as reason:
            if strict:
                raise DataError(f"{place}: {reason}") from None
            skipped.append(f"{place}: {reason}")
    if not tasks and skipped:
        first = skipped[0].removeprefix(f"{source}:").strip()
        first = f"line {first}" if first[:1].isdigit() else first
        raise DataError(f"{source}: no usable row of {len(skipped)}; first problem: {first}")
    if not tasks:
        raise DataError(f"{source}: holds no rows")
    names = list(dict.fromkeys(name for task in tasks for name in task.columns))
    return [Task(task.id, task.prompt, {name: task.columns.get(name) for name in names}) for task in tasks], skipped


def task_from_row(row: Any, columns: Columns, place: str) -> Task:
    """The task of one row; a ValueError says what is wrong with it."""
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, Mapping):
        raise ValueError(f"not an object with columns but {_kind(row)}")
    prompt_column = _prompt_column(row, columns.prompt)
    prompt = _with_suffix(_read_prompt(row[prompt_column], prompt_column), columns)
    kept = {name: value for name, value in row.items() if name not in RESERVED_COLUMNS | {prompt_column}}
    if columns.language is not None:
        kept.setdefault("language", columns.language)
    answer = _read_answer(row, columns)
    if answer is not None:
        if GSM8K_MARK in str(row.get(ANSWER_COLUMN)):
            kept.setdefault("solution", row[ANSWER_COLUMN])
        kept[ANSWER_COLUMN] = answer
    return Task(place.rsplit("/", 1)[-1], prompt, kept)


def _prompt_column(row: Mapping[str, Any], named: str | None) -> str:
    names = PROMPT_COLUMNS if named is None else (named,)
    for name in names:
        if row.get(name) is not None:
            return name
    raise ValueError(f"no prompt column, looked for {', '.join(names)}; found {_names(row)}")


def _read_prompt(value: Any, column: str) -> Prompt:
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"{column} is empty")
        return value
    if not isinstance(value, Sequence) or not value:
        raise ValueError(f"{column} must be a text or a list of messages, got {_kind(value)}")
    messages = []
    for message in value:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise ValueError(f"{column} is a list, but not of messages with a role and a content that are texts")
        messages.append({"role": role, "content": content})
    if not messages[-1]["content"].strip():
        raise ValueError(f"{column} ends with an empty message")
    return messages


def _with_suffix(prompt: Prompt, columns: Columns) -> Prompt:
    """The prompt with the suffix at its end, or at the end of its last message."""
    if isinstance(prompt, str):
        return prompt + columns.suffix
    return [*prompt[:-1], {**prompt[-1], "content": prompt[-1]["content"] + columns.suffix}]


def _read_answer(row: Mapping[str, Any], columns: Columns) -> str | None:
    """The reference answer as text: a column's value, the number after `####`, or the last box of a solution."""
    column = columns.answer or (ANSWER_COLUMN if row.get(ANSWER_COLUMN) is not None else "solution")
    value = row.get(column)
    if value is None:
        if not columns.answer_required:
            return None
        named = columns.answer or ANSWER_COLUMN
        raise ValueError(f"no answer column, looked for {named}; found {_names(row)}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{column} must be a text or a number, got {_kind(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{column} is not a finite number")
    text = str(value).strip()
    if column == "solution":
        boxed = last_boxed(text)
        if boxed is None and GSM8K_MARK not in text:
            raise ValueError(f"no answer column, and solution holds no \\boxed answer; found {_names(row)}")
        text = boxed if boxed is not None else text
    if GSM8K_MARK in text:
        text = re.sub(r"(?<=[0-9]),(?=[0-9])", "", text.rsplit(GSM8K_MARK, 1)[1]).strip()
    if not text:
        raise ValueError(f"{column} is empty")
    return text


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` of a text holds, braces matched; None without one that is closed."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end].strip()
    return None


def encodable(row: Any) -> bool:
    """Whether everything in a row can be written as UTF-8 (JSON can smuggle in half a surrogate pair)."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(str(name) for name in row) or "no column"
