"""One row of anybody's data set -> one Task, or the reason why not."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.base import DataError, Prompt, Task
from envs.messages import is_conversation, read_messages, until_last_user_turn
from rewards.maths.final_answer import boxed_answer

PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction", "messages", "conversations")
WHOLE_CONVERSATIONS = ("messages", "conversations")  # their last user turn is the prompt
ANSWER_COLUMNS = ("answer", "ground_truth", "reward_model.ground_truth", "final_answer", "expected_answer")
ANSWER_COLUMN = ANSWER_COLUMNS[0]
WORKED = ("solution", "output")  # a worked text: its last box, what follows ####, or all of it
RESERVED_COLUMNS = frozenset({"prompt", "prompts", "completion", "completions", "completion_ids"})
GSM8K_MARK = "####"

Row = tuple[str, Any]  # where it stands (`FILE:LINE`), and a mapping, or a ValueError for what could not be read


@dataclass(frozen=True)
class Columns:
    """The columns of a row's prompt and answer (None: look for the usual names), and what to add.

    A name with dots, `reward_model.ground_truth`, goes into a column that is an object. `verbatim` leaves the column
    `answer` as it is; otherwise a text is stripped, and the number after `####` taken out of it.
    """

    prompt: str | None = None
    answer: str | None = None
    answer_required: bool = True
    language: str | None = None
    suffix: str = ""
    verbatim: bool = False


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
    if isinstance(row, Task):
        return row
    if not isinstance(row, Mapping):
        raise ValueError(f"not an object with columns but {_kind(row)}")
    row = {name: _plain(value) for name, value in row.items()}
    column = _prompt_column(row, columns.prompt)
    prompt, reply = _read_prompt(row, column)
    kept = {name: value for name, value in row.items() if name not in RESERVED_COLUMNS | {column}}
    if columns.language is not None:
        kept.setdefault("language", columns.language)
    answer = _read_answer(row, columns, reply)
    if answer is not None:
        if isinstance(row.get(ANSWER_COLUMN), str) and GSM8K_MARK in row[ANSWER_COLUMN] and not columns.verbatim:
            kept.setdefault("solution", row[ANSWER_COLUMN])
        kept[ANSWER_COLUMN] = answer
    return Task(place.rsplit("/", 1)[-1], _with_suffix(prompt, columns), kept)


def value_at(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or of `a.b` inside a column that is an object; None where there is none."""
    if name in row:
        return row[name]
    found: Any = row
    for key in name.split("."):
        found = _plain(found.get(key)) if isinstance(found, Mapping) else None
    return found


def _as_written(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The usual names as the row writes them: Question for question where there is no question."""
    written = {str(name).lower(): str(name) for name in row}
    return [name if name in row else written.get(name, name) for name in names]


def _plain(value: Any) -> Any:
    """Arrays and scalars of numpy, as pandas and parquet readers give them, as lists and numbers of Python."""
    return value.tolist() if type(value).__module__ == "numpy" else value


def _prompt_column(row: Mapping[str, Any], named: str | None) -> str:
    names = PROMPT_COLUMNS if named is None else (named,)
    for name in names if named is not None else _as_written(row, names):
        if value_at(row, name) is not None:
            return name
    raise ValueError(
        f"no prompt column, looked for {', '.join(names)}; found {_names(row)} (prompt_column=NAME names another)"
    )


def _read_prompt(row: Mapping[str, Any], column: str) -> tuple[Prompt, str | None]:
    """The prompt, and the reply that the column holds too where it is a whole conversation."""
    value = value_at(row, column)
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"{column} is empty")
        more = row.get("input") if column == "instruction" else None
        return (f"{value}\n\n{more}" if isinstance(more, str) and more.strip() else value), None
    if not is_conversation(value):
        raise ValueError(f"{column} must be a text or a list of messages, got {_kind(value)}")
    messages, reply = read_messages(value, column), None
    if not messages:
        raise ValueError(f"{column} holds no message")
    if column.rpartition(".")[2] in WHOLE_CONVERSATIONS:
        messages, reply = until_last_user_turn(messages, column)
    if not messages[-1]["content"].strip():
        raise ValueError(f"{column} ends with an empty message")
    return messages, reply


def _with_suffix(prompt: Prompt, columns: Columns) -> Prompt:
    """The prompt with the suffix at its end, or at the end of its last user message."""
    if isinstance(prompt, str) or not columns.suffix:
        return prompt + columns.suffix if isinstance(prompt, str) else prompt
    places = [place for place, message in enumerate(prompt) if message["role"] == "user"]
    last = places[-1] if places else len(prompt) - 1
    return [
        {**message, "content": message["content"] + columns.suffix} if place == last else message
        for place, message in enumerate(prompt)
    ]


def _read_answer(row: Mapping[str, Any], columns: Columns, reply: str | None) -> Any:
    """The reference answer: a text without what surrounds it, or a number, true or false, a list, an object as it is.

    It is a column's value, the last box of a worked text, or what the assistant said in a whole conversation.
    """
    names = (*ANSWER_COLUMNS, *WORKED) if columns.answer is None else (columns.answer,)
    written = names if columns.answer is not None else _as_written(row, names)
    named = next((name for name in written if value_at(row, name) is not None), None)
    value = value_at(row, named) if named is not None else reply
    if columns.verbatim and named == ANSWER_COLUMN:
        return value
    column = named or "the assistant's reply"
    if value is None:
        problem = (
            f"no answer column, looked for {', '.join(names)}; found {_names(row)} (answer_column=NAME names another)"
        )
    else:
        value, why = _answer(value, column, worked=named is None or named.lower() in WORKED)
        if why is None:
            return value
        problem = why
    if columns.answer_required:
        raise ValueError(problem)
    return None


def _answer(value: Any, column: str, *, worked: bool) -> tuple[Any, str | None]:
    """The answer in a value, and what is wrong with it, None if nothing is."""
    if isinstance(value, str):
        text = value.strip()
        boxed = boxed_answer(text) if worked else None
        if boxed is not None:
            text = boxed
        elif GSM8K_MARK in text:
            text = re.sub(r"(?<=[0-9]),(?=[0-9])", "", text.rsplit(GSM8K_MARK, 1)[1]).strip()
        return (text, None) if text else (None, f"{column} is empty")
    if isinstance(value, float) and not math.isfinite(value):
        return None, f"{column} is not a finite number"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        several = [_answer(one, column, worked=worked)[0] for one in value if one is not None]
        several = [one for one in several if one is not None]
        return (several, None) if several else (None, f"{column} is an empty list")
    if isinstance(value, Mapping) and not value:
        return None, f"{column} is an empty object"
    return value, None


def encodable(row: Any) -> bool:
    """Return whether everything in a row can be written as UTF-8 (JSON can smuggle in half a surrogate pair)."""
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
