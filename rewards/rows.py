"""Read the input of this package's commands: JSONL rows and `NAME.key=value` options. Errors are one line."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any


class InputError(Exception):
    """Something the user can put right, said in one line."""


def read_rows(path: Path, *, completions: bool = True) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file; InputError names the file and line of a bad one.

    `completions`: whether every row has to have one.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(line, f"{path}, line {number}", completions)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None


def _row(line: str, where: str, completions: bool) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: a row must be an object, got {type(row).__name__}")
    if _is_parts(row.get("completion")):
        row["completion"] = "".join(text * times for text, times in row["completion"]["parts"])
    if completions and not _is_text(row.get("completion")):
        raise InputError(f"{where}: 'completion' must be a string or a list of messages; columns: {', '.join(row)}")
    if not _is_text(row.setdefault("prompt", "")):
        raise InputError(f"{where}: 'prompt' must be a string or a list of messages")
    return row


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)
    )


def _is_parts(value: Any) -> bool:
    """{"parts": [[text, times], ...]}: a long text written short."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("parts"), list)
        and all(
            isinstance(part, list)
            and len(part) == 2
            and isinstance(part[0], str)
            and isinstance(part[1], int)
            and 0 <= len(part[0]) * part[1] <= 10_000_000
            for part in value["parts"]
        )
    )


def read_options(pairs: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options of rewards from `NAME.key=value`; a value is JSON, or else text."""
    options: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        left, equals, text = pair.partition("=")
        name, dot, key = left.rpartition(".")
        if not equals or not dot or not key:
            raise InputError(f"--option {pair!r} must look like NAME.key=value, e.g. accuracy.extract=boxed")
        if name not in names:
            raise InputError(f"--option {pair!r}: {name} is not among --reward {','.join(names)}")
        of_reward = options.setdefault(name, {})
        try:
            of_reward[key] = json.loads(text)
        except (ValueError, RecursionError):
            of_reward[key] = text
    return options


def write_lines(path: Path | None, lines: Iterable[str]) -> None:
    """Write lines as they come, to standard output without a path; InputError if that can't be done.

    An interrupt keeps what is written.
    """
    if path is None:
        for line in lines:
            print(line, flush=True)
        return
    try:
        with path.open("w", encoding="utf-8") as file:
            for line in lines:
                print(line, file=file, flush=True)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from None


def wanted_names(text: str) -> list[str]:
    """The rewards of a `--reward` option."""
    wanted = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not wanted:
        raise InputError(f"--reward {text!r:.80} names no reward")
    return wanted
