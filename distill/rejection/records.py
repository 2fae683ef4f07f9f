"""Samples on disk: files of a shard, a line a prompt, whole chunks only.

A chunk's prompts are written together and flushed, so after a kill at any moment a file holds whole chunks and
perhaps the beginning of one, which is cut off and sampled again. Each line ends with its own hash: one that is not as
it was written counts as not sampled. A chunk is the same whoever samples it and whenever:
shards and resumed runs give what one process gives. Nothing here holds more than one prompt's completions in memory:
of the others it knows where they are, 24 bytes each.
"""

import itertools
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from envs import Task
from grpo.config.sections import ConfigError
from rewards import lines

SAMPLES = "samples"
FILE = "samples.jsonl"  # a shard's first file; samples-1.jsonl follows
PART_BYTES = 32 << 20  # of a file, after which another is begun: what an object store gets at a time
NUMBER = b'{"number": '


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


class Numbers:
    """A set of prompts' numbers, a bit each."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self.bits, self.count = bytearray(), 0
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> None:
        """Put a number in."""
        if number >= 8 * len(self.bits):
            self.bits.extend(bytes(max(number // 8 + 1 - len(self.bits), len(self.bits))))
        if number not in self:
            self.bits[number // 8] |= 1 << number % 8
            self.count += 1

    def __contains__(self, number: int) -> bool:
        return number < 8 * len(self.bits) and bool(self.bits[number // 8] >> number % 8 & 1)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return (number for number in range(8 * len(self.bits)) if number in self)


def part_folder(output: Path, shard: str) -> Path:
    """The folder a shard writes to."""
    return output / SAMPLES / shard.replace("/", "_of_")


def current_file(folder: Path) -> Path:
    """Return the file of a shard that the next chunk goes to."""
    number = max((int(path.stem.partition("-")[2] or 0) for path in folder.glob("samples*.jsonl")), default=0)
    path = _file(folder, number)
    return _file(folder, number + 1) if path.exists() and path.stat().st_size >= PART_BYTES else path


def _file(folder: Path, number: int) -> Path:
    return folder / (FILE if number == 0 else f"samples-{number}.jsonl")


def append(path: Path, records: Sequence[Record]) -> None:
    """Write a chunk and see it reach the disk."""
    lines.append(path, [json.dumps(asdict(record), ensure_ascii=False, default=str) for record in records])


def cut_torn(path: Path, chunks: Iterable[Sequence[int]]) -> None:
    """Cut a file back to its last whole chunk: what a kill may have left after it is sampled again.

    `chunks` are the numbers of all chunks; they are looked through for the file's last one.
    """
    if not path.exists():
        return
    whole = [(number, begin, end) for number, begin, end in _lines(path) if number is not None]
    end = whole[-1][2] if whole else 0
    if whole:
        chunk = next((set(chunk) for chunk in chunks if whole[-1][0] in chunk), set[int]())
        tail = list(itertools.takewhile(lambda line: line[0] in chunk, reversed(whole)))
        if len(tail) < len(chunk):
            end = tail[-1][1]
    with path.open("rb+") as handle:
        handle.truncate(end)


def finished(output: Path, on_damage: Callable[[str], None] = lambda where: None) -> Numbers:
    """The numbers of all prompts that are sampled, by any shard; `on_damage` hears where a line has changed."""
    found = Numbers()
    for path in _files(output):
        for number, begin, _ in _lines(path):
            if number is None:
                on_damage(f"{path}, byte {begin}")
            else:
                found.add(number)
    return found


def read(output: Path) -> Iterator[Record]:
    """Every record once, by number, without lines that have changed; ConfigError for one of another form."""
    files = _files(output)
    numbers, places, offsets = array("q"), array("q"), array("q")
    for place, path in enumerate(files):
        for number, start, _ in _lines(path):
            if number is None:
                continue
            numbers.append(number)
            places.append(place)
            offsets.append(start)
    order = np.argsort(np.frombuffer(numbers, np.int64) if numbers else np.zeros(0, np.int64), kind="stable")
    opened: dict[int, BinaryIO] = {}
    last = -1
    try:
        for at in order.tolist():
            if numbers[at] == last:
                continue  # sampled twice, by shards that overlap
            last = numbers[at]
            if places[at] not in opened:
                opened[places[at]] = files[places[at]].open("rb")
            handle = opened[places[at]]
            handle.seek(offsets[at])
            try:
                record = _record(json.loads(handle.readline()))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ConfigError(
                    f"{files[places[at]]} is damaged at byte {offsets[at]} ({error}): remove that folder to sample "
                    "it again"
                ) from None
            yield record
    finally:
        for handle in opened.values():
            handle.close()


def _files(output: Path) -> list[Path]:
    return sorted((output / SAMPLES).glob("*/samples*.jsonl"))


def _lines(path: Path) -> Iterator[tuple[int | None, int, int]]:
    """Number, begin and end of every whole line of a file, None for the number of one that has changed.

    A torn line ends it.
    """
    at = 0
    with path.open("rb") as handle:
        for line in handle:
            if not line.endswith(b"\n"):
                return
            yield _number(line), at, at + len(line)
            at += len(line)


def _number(line: bytes) -> int | None:
    """The number of a line that is as it was written."""
    digits = line[len(NUMBER) :].split(b",", 1)[0]
    return int(digits) if line.startswith(NUMBER) and digits.isdigit() and lines.intact(line) else None


def _record(row: Mapping[str, Any]) -> Record:
    samples = tuple(Sample(**sample) for sample in row["samples"])
    given = {name: value for name, value in row.items() if name != lines.KEY}
    return Record(**{**given, "task": Task(**row["task"]), "samples": samples})
