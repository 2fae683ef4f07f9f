"""The corpus format: a JSONL file, one validated object a line, `schema_version` in each. Needs no mlx.

A row is a conversation (`messages`, or `prompt` and `completion`) with the assistant's last text taken apart into
`reasoning` and `answer`, what it is about, and where it comes from. `distill.corpus.readers` makes such rows of other
formats.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from envs.base import prompt_key
from rewards.sections import SUMMARY_MARK, first_turn, split

SCHEMA_VERSION: Literal[1] = 1
Domain = Literal["medical", "legal", "programming", "science", "general", "math", "other"]
DOMAINS: tuple[str, ...] = get_args(Domain)
SPLITS = ("train", "valid", "test")  # the names mlx_lm gives its files


class Part(BaseModel):
    """Base of a row's records: an unknown key is an error, and a text is taken as it is (an answer may be "none")."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Message(Part):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


class Verdict(Part):
    """A judge's verdict."""

    judge: str = Field(description="rubric or name of the judge")
    value: float = Field(ge=0, le=1)


class Coordinates(Part):
    """A row's place among concepts, each coordinate from 0 to 1."""

    x: float = Field(ge=0, le=1, description="concrete to abstract")
    y: float = Field(ge=0, le=1, description="basic to expert")
    z: float = Field(ge=0, le=1, description="timeless to recent")


class Provenance(Part):
    """The origin of a row."""

    model: str | None = Field(None, description="hub id, directory or URL of what wrote the completion")
    adapter_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    seed: int | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0)
    rewards: dict[str, float | None] = Field(default_factory=dict, description="each reward as measured")
    pass_rate: float | None = Field(None, ge=0, le=1, description="share of its prompt's samples that were right")
    certainty: float | None = Field(None, ge=0, le=1, description="share of them that gave the same final answer")
    verdicts: list[Verdict] = Field(default_factory=list)
    citations: list[str] = Field(default_factory=list)
    expert_id: str | None = Field(None, description="ORCID of who checked it, e.g. 0000-0002-1825-0097")

    @field_validator("expert_id")
    @classmethod
    def _orcid(cls, text: str | None) -> str | None:
        if text is not None and not is_orcid(text):
            raise ValueError(
                f"expert_id must be an ORCID whose last character checks, such as 0000-0002-1825-0097, got {text!r:.80}"
            )
        return text


class CorpusRow(Part):
    """One example. Everything but the conversation is optional; an unknown key is an error."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str | None = None
    messages: list[Message] | None = None
    prompt: str | None = None
    completion: str | None = None
    tools: list[dict[str, Any]] | None = Field(None, description="JSON schemas of what the conversation could call")
    reasoning: str | None = Field(None, description="what stands between the think tags of the last assistant's text")
    answer: str | None = Field(None, description="what follows the reasoning, without answer tags")
    reference: str | None = Field(None, description="the known right answer, if there is one")
    domain: Domain = "general"
    difficulty: int | None = Field(None, ge=1, le=5)
    requires_reasoning: bool = True
    language: str | None = Field(None, description="ISO 639-1, e.g. en")
    source: str | None = None
    licence: str | None = None
    coordinates: Coordinates | None = None
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _conversation(self) -> "CorpusRow":
        pair = self.prompt is not None and self.completion is not None
        if pair == (self.messages is not None) or (not pair and (self.prompt or self.completion) is not None):
            raise ValueError("a row needs either messages or both prompt and completion")
        if self.messages is not None and (not self.messages or self.messages[-1].role != "assistant"):
            raise ValueError("the last message must be the assistant's: there is nothing to learn from otherwise")
        if not self.said.strip():
            raise ValueError("the assistant's text is empty")
        return self

    @property
    def said(self) -> str:
        """The last text of the assistant."""
        return self.messages[-1].content if self.messages is not None else self.completion or ""

    @property
    def asked(self) -> str:
        """All the user said: rows in which it is the same have the same prompt."""
        if self.messages is None:
            return self.prompt or ""
        return "\n".join(message.content for message in self.messages if message.role == "user")

    @property
    def text(self) -> str:
        """Every text of the conversation."""
        return f"{self.asked}\n{self.said}"


def is_orcid(text: str) -> bool:
    """Return whether a text is an ORCID: 16 characters in four groups, the last one ISO 7064 mod 11-2 of the others."""
    digits = text.replace("-", "")
    if [len(part) for part in text.split("-")] != [4, 4, 4, 4] or not (digits.isascii() and digits[:15].isdigit()):
        return False
    total = 0
    for digit in digits[:15]:
        total = (total + int(digit)) * 2
    check = (12 - total % 11) % 11
    return digits[15] == ("X" if check == 10 else str(check))


def parts(completion: str, *, opened: bool = False) -> tuple[str | None, str | None]:
    """Reasoning and answer of a completion, both without their tags; None for what is not there."""
    sections = split(first_turn(completion), opened=opened)
    final = sections.final
    if final is not None:
        start, end = final.find("<answer>"), final.rfind("</answer>")
        final = final[start + len("<answer>") : end] if 0 <= start < end else final
        final = final.replace(SUMMARY_MARK, "").strip() or None
    return (sections.reasoning or "").strip() or None, final


def read_row(row: Mapping[str, Any]) -> CorpusRow:
    """The row of a JSON object with `schema_version`; ValueError, one line, for what does not fit."""
    version = row.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema_version {version!r}: this program reads version {SCHEMA_VERSION}")
    try:
        return CorpusRow.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}".removeprefix(": ").replace("Value error, ", "")) from None


def to_line(row: CorpusRow) -> str:
    """One line of JSON, keys without a value left out."""
    return row.model_dump_json(exclude_none=True) + "\n"


def write_corpus(path: Path, rows: Iterable[CorpusRow]) -> None:
    """Replace the file at once: a reader sees the old rows or the new ones."""
    write_lines(path, map(to_line, rows))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Replace a file of lines at once, flushed to the disk before it gets its name."""
    partial = path.with_name(f".partial_{path.name}")
    with partial.open("w", encoding="utf-8", errors="replace") as handle:
        handle.writelines(lines)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(partial, path)


def split_by_prompt(
    rows: Sequence[CorpusRow], shares: Sequence[float] = (8, 1, 1), seed: int = 0
) -> dict[str, list[CorpusRow]]:
    """train, valid and test rows; all rows of a prompt are in one, and each has its share of the prompts.

    Prompts go by the order of a hash, so a corpus that grows keeps nearly all of them where they were.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or not sum(shares):
        raise ValueError(f"shares must be three numbers of at least 0, got {list(shares)}")
    keys = [hash_order(prompt_key(row.asked), seed) for row in rows]
    order = sorted(set(keys))
    edges = [round(len(order) * sum(shares[: n + 1]) / sum(shares)) for n in range(len(SPLITS))]
    place = {key: next(n for n, edge in enumerate(edges) if at < edge) for at, key in enumerate(order)}
    return {
        name: [row for row, key in zip(rows, keys, strict=True) if place[key] == n] for n, name in enumerate(SPLITS)
    }


def hash_order(text: str, seed: int) -> str:
    """Return a sort key for an order that depends only on the seed and each text."""
    return hashlib.sha256(f"{seed}:{text}".encode(errors="replace")).hexdigest()


def shuffled(rows: Sequence[CorpusRow], seed: int) -> list[CorpusRow]:
    """The rows in an order that depends on the seed and their texts alone."""
    return sorted(rows, key=lambda row: (hash_order(row.text, seed), row.id or ""))
