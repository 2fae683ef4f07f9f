"""Samples on disk: a file a shard, a line a prompt, whole chunks only.

A chunk's prompts are written together and flushed, so after a kill at any moment a file holds whole chunks and
perhaps the beginning of one, which is cut off and sampled again. A chunk is the same whoever samples it and whenever:
shards and resumed runs give what one process gives.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envs import Task
from grpo.config.sections import ConfigError

SAMPLES = "samples"
FILE = "samples.jsonl"


@dataclass(frozen=True)
class Sample:
    """One completion and what it is worth."""

    text: str
    tokens: int
    stop_reason: str  # stop, length or error
    rewards: Mapping[str, float | None]
    messages: Sequence[Mapping[str, Any]] | None = None  # said after the prompt, where an environment answers


@dataclass(frozen=True)
class Record:
    """A prompt and all its samples."""

    number: int  # its place in the split: what its random numbers are drawn by
    task: Task
    opened: bool  # the template has written `<think>` at the prompt's end
    samples: tuple[Sample, ...]
    left_out: str | None = None  # why there are no samples
    failures: Mapping[str, int] | None = None  # "REWARD/KIND" -> completions
    tools: Sequence[Any] = ()  # schemas of those the prompt shows


def chunks_of(numbers: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """The numbers in groups of `size`."""
    return [tuple(numbers[at : at + size]) for at in range(0, len(numbers), size)]


def part_folder(output: Path, shard: str) -> Path:
    """The files a shard writes."""
    return output / SAMPLES / shard.replace("/", "_of_")


def append(path: Path, records: Sequence[Record]) -> None:
    """Write a chunk and see it reach the disk."""
    text = "".join(_line(record) for record in records)
    with path.open("a", encoding="utf-8", errors="replace") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def cut_torn(path: Path, chunks: Iterable[tuple[int, ...]]) -> None:
    """Cut a file back to its last whole chunk: what a kill may have left after it is sampled again."""
    if not path.exists():
        return
    by_first = {chunk[0]: chunk for chunk in chunks}
    whole = at = 0
    waiting: list[int] = []
    with path.open("rb+") as handle:
        for line in handle:
            number = _number(line)
            if number is None or (not waiting and number not in by_first):
                break
            at += len(line)
            waiting.append(number)
            chunk = by_first.get(waiting[0], ())
            if tuple(waiting) != chunk[: len(waiting)]:
                break
            if len(waiting) == len(chunk):
                whole, waiting = at, []
        handle.truncate(whole)


def finished(output: Path) -> set[int]:
    """The numbers of all prompts that are sampled, by any shard."""
    found = set()
    for path in _files(output):
        with path.open("rb") as handle:
            found |= {number for line in handle if (number := _number(line)) is not None}
    return found


def read(output: Path) -> Iterator[Record]:
    """Every record once, in no certain order; ConfigError for a file that is damaged."""
    seen: set[int] = set()
    for path in _files(output):
        with path.open("rb") as handle:
            for place, line in enumerate(handle, 1):
                if not line.endswith(b"\n"):
                    break  # the beginning of a chunk that its process was killed over
                try:
                    record = _record(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise ConfigError(
                        f"{path}:{place} is damaged ({error}): remove that folder to sample it again"
                    ) from None
                if record.number not in seen:
                    seen.add(record.number)
                    yield record


def _files(output: Path) -> list[Path]:
    return sorted((output / SAMPLES).glob(f"*/{FILE}"))


def _number(line: bytes) -> int | None:
    """The number of a whole line; None for a torn one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return int(json.loads(line)["number"])
    except (ValueError, KeyError, TypeError):
        return None


def _line(record: Record) -> str:
    row = asdict(record)
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _record(row: Mapping[str, Any]) -> Record:
    samples = tuple(Sample(**sample) for sample in row["samples"])
    return Record(**{**row, "task": Task(**row["task"]), "samples": samples})
