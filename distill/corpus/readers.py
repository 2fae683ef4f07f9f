"""From anybody's rows to conversations and corpus rows. One function a layout; to read another, add one to LAYOUTS.

Read are the corpus format itself, chat `messages`, ShareGPT's `conversations`, `prompt` and `completion`, medical-o1
(`Question`, `Complex_CoT`, `Response`), reasoning traces (`problem` or `question` with `thinking` and `response`),
Alpaca (`instruction`, `input`, `output`), and `problem` or `question` with `solution` or `answer`.
"""

import contextlib
import json
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from distill.corpus.row import DOMAINS, Coordinates, CorpusRow, Provenance, parts, read_row
from envs.files import JSON_SUFFIXES, file_rows, hub_rows
from envs.messages import is_conversation, read_messages

THINK = "<think>"
STRUCTURED = ("messages", "conversations", "coordinates", "provenance", "rewards", "verdicts", "citations",
              "reasoning_chain")  # fmt: skip
Message = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """Columns that a row must have, and how they become messages."""

    name: str
    columns: frozenset[str]
    read: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Reading:
    """The rows of a file, and a line for every row that could not be used."""

    rows: list[CorpusRow] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def _said(text: Any, role: str) -> list[Message]:
    if isinstance(text, bool | int | float):  # a table has 4 where a text says 4
        text = str(text)
    return [{"role": role, "content": text}] if isinstance(text, str) else list(text)


def _pair(row: Mapping[str, Any]) -> Any:
    return [*_said(row["prompt"], "user"), *_said(row["completion"], "assistant")]


def _thought(question: str, thinking: str, response: str) -> Callable[[Mapping[str, Any]], Any]:
    def read(row: Mapping[str, Any]) -> Any:
        answer = f"{THINK}\n{row[thinking]}\n</think>\n\n{row[response]}"
        return [{"role": "user", "content": row[question]}, {"role": "assistant", "content": answer}]

    return read


def _columns(asked: str, said: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda row: [*_said(row[asked], "user"), *_said(row[said], "assistant")]


def _alpaca(row: Mapping[str, Any]) -> Any:
    asked = f"{row['instruction']}\n\n{row['input']}" if row.get("input") else row["instruction"]
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]


LAYOUTS = (
    Layout("messages", frozenset({"messages"}), lambda row: row["messages"]),
    Layout("prompt and completion", frozenset({"prompt", "completion"}), _pair),
    Layout("conversations", frozenset({"conversations"}), lambda row: row["conversations"]),
    Layout(
        "Question, Complex_CoT and Response",
        frozenset({"Question", "Complex_CoT", "Response"}),
        _thought("Question", "Complex_CoT", "Response"),
    ),
    Layout(
        "problem, thinking and response",
        frozenset({"problem", "thinking", "response"}),
        _thought("problem", "thinking", "response"),
    ),
    Layout(
        "question, thinking and response",
        frozenset({"question", "thinking", "response"}),
        _thought("question", "thinking", "response"),
    ),
    Layout("instruction and output", frozenset({"instruction", "output"}), _alpaca),
    *(Layout(f"{asked} and {said}", frozenset({asked, said}), _columns(asked, said))
      for asked in ("problem", "question") for said in ("solution", "answer")),
)  # fmt: skip


def messages_of(row: Any) -> list[Message]:
    """The conversation in a row, in any layout there is.

    Raises ValueError, one line, where a row has none of them or nothing to learn from.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"a row must be an object, got a {type(row).__name__}")
    row = _decoded(row)
    present = {name for name, value in row.items() if value is not None}
    layout = next((layout for layout in LAYOUTS if layout.columns <= present), None)
    if layout is None:
        known = "; ".join(layout.name for layout in LAYOUTS)
        raise ValueError(f"a row needs {known}; got {', '.join(sorted(map(str, row))) or 'nothing'}")
    try:
        read = layout.read(row)
    except TypeError:
        raise ValueError(f"{layout.name} must be texts or lists of messages") from None
    if not is_conversation(read):
        raise ValueError(f"{layout.name} must be a list of {{role, content}}, got {reprlib.repr(read)}")
    messages = read_messages(read, layout.name)
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError("the last message must be the assistant's: there is nothing to learn from otherwise")
    chain, last = _chain(row), messages[-1]
    if chain and THINK not in last["content"]:
        messages[-1] = {**last, "content": f"{THINK}\n{chain}\n</think>\n\n{last['content']}"}
    return messages


def _decoded(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with lists and objects where a table, such as a CSV file, holds them as JSON."""
    found = dict(row)
    for name in STRUCTURED:
        value = found.get(name)
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            with contextlib.suppress(ValueError, RecursionError):
                found[name] = json.loads(value)
    return found


def _chain(row: Mapping[str, Any]) -> str:
    """The reasoning that stands in a column of its own beside the conversation: a text, or steps."""
    chain = row.get("reasoning_chain")
    steps = chain if isinstance(chain, list) else [chain]
    return "\n".join(step.strip() for step in steps if isinstance(step, str)).strip()


def tools_of(row: Any) -> list[Any]:
    """The tools that a row's conversation could call, as JSON schemas; ValueError for a column that holds none."""
    tools = row.get("tools") if isinstance(row, Mapping) else None
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"tools is no JSON: {error}") from None
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise ValueError(f"tools must be a list of JSON schemas, got {type(tools).__name__}")
    try:
        return [json.loads(tool) if isinstance(tool, str) else tool for tool in tools]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"tools holds a text that is no JSON: {error}") from None


def corpus_row(row: Any, **defaults: Any) -> CorpusRow:
    """The corpus row of any readable row; `defaults` fill the fields it does not give itself.

    ValueError, one line, for what is no row.
    """
    if isinstance(row, ValueError):
        raise row
    if isinstance(row, Mapping):
        row = _decoded(row)
    if isinstance(row, Mapping) and row.get("schema_version") is not None:
        found_row = read_row(row)
        thought, answer = parts(found_row.said)
        if THINK not in found_row.said or found_row.reasoning is not None:
            return found_row
        return found_row.model_copy(update={"reasoning": thought, "answer": found_row.answer or answer})
    messages = [{"role": message["role"], "content": message["content"]} for message in messages_of(row)]
    thought, answer = parts(messages[-1]["content"])
    found: dict[str, Any] = {"schema_version": 1, "reasoning": thought, "answer": answer}
    found["requires_reasoning"] = thought is not None
    if [message["role"] for message in messages] == ["user", "assistant"]:
        found |= {"prompt": messages[0]["content"], "completion": messages[1]["content"]}
    else:
        found["messages"] = messages
    return read_row({**found, **defaults, **_described(row)})


def _described(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's other fields that the format knows; fields that do not fit are left out."""
    found: dict[str, Any] = {}
    if isinstance(domain := row.get("domain"), str) and domain.lower() in DOMAINS:
        found["domain"] = domain.lower()
    level = row.get("difficulty")  # a table with empty cells has 3.0 for 3
    if isinstance(level, int | float) and not isinstance(level, bool) and level in range(1, 6):
        found["difficulty"] = int(level)
    found |= {name: row[name] for name in ("language", "source", "licence") if isinstance(row.get(name), str)}
    if isinstance(row.get("requires_reasoning"), bool):
        found["requires_reasoning"] = row["requires_reasoning"]
    reference = next((row[name] for name in ("reference", "ground_truth") if isinstance(row.get(name), str)), None)
    if reference is not None:
        found["reference"] = reference
    if (where := _fitting(Coordinates, row.get("coordinates"))) is not None:
        found["coordinates"] = where
    given = row.get("provenance")
    told: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    made = {}
    for name in Provenance.model_fields:
        value = told.get(name, row.get(name))
        if value is not None and _fitting(Provenance, {name: value}) is not None:
            made[name] = value
    return found | ({"provenance": made} if made else {})


def _fitting(kind: type[BaseModel], value: Any) -> Any:
    """The value if it is one of this kind, else None."""
    try:
        kind.model_validate(value)
    except ValueError:
        return None
    return value


def rows_of(source: str, *, config: str | None = None, revision: str | None = None) -> Iterator[tuple[str, Any]]:
    """(place, row) of a JSONL, JSON, parquet or CSV file or a hub data set; a row that can't be read is a ValueError.

    Raises envs.DataError, one line, if there is nothing to read.
    """
    if source.endswith(JSON_SUFFIXES):
        return file_rows(source)
    return hub_rows(source, configs=[config], split="train", revision=revision)


def read_corpus(source: str, *, config: str | None = None, revision: str | None = None, **defaults: Any) -> Reading:
    """Every usable row of a file or hub data set as a corpus row; `defaults` as for `corpus_row`."""
    reading = Reading()
    for place, row in rows_of(source, config=config, revision=revision):
        try:
            reading.rows.append(corpus_row(row, **defaults))
        except ValueError as error:
            reading.dropped.append(f"{place}: {error}")
    return reading
