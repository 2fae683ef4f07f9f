"""`python -m rewards.score --reward NAME[,NAME] --input FILE.jsonl [--output FILE]`: rewards of completions in a
file.

A row holds `prompt`, `completion` and the columns of the rewards; out comes one JSON object a row:
`{"NAME": value or null, ..., "error": text or null}`. Exit code 2 and one line for input that is wrong.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rewards.base import names
from rewards.compose import RewardSet

BATCH_ROWS = 512


class InputError(Exception):
    """Something the user can put right, said in one line."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(prog="python -m rewards.score", description="Score completions in a JSONL file.")
    made.add_argument(
        "--reward",
        required=True,
        metavar="NAME[,NAME]",
        help=f"{', '.join(names())}, or your own as package.module:function; several with commas",
    )
    made.add_argument(
        "--input", required=True, type=Path, metavar="FILE", help="rows: prompt, completion, columns (JSONL)"
    )
    made.add_argument("--output", type=Path, metavar="FILE", help="one JSON object a row; default: standard output")
    made.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help=f"for {BATCH_ROWS} rows (60)")
    return made


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file; InputError names the file and line of a bad one."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(line, f"{path}, line {number}")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: a row must be an object, got {type(row).__name__}")
    if not _is_text(row.get("completion")):
        raise InputError(f"{where}: 'completion' must be a string or a list of messages; columns: {', '.join(row)}")
    if not _is_text(row.setdefault("prompt", "")):
        raise InputError(f"{where}: 'prompt' must be a string or a list of messages")
    return row


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)
    )


def scored(rewards: RewardSet, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output objects of a batch of rows."""
    columns = dict.fromkeys(key for row in rows for key in row if key not in ("prompt", "completion"))
    scores = rewards.score(
        [row["prompt"] for row in rows],
        [row["completion"] for row in rows],
        columns={key: [row.get(key) for row in rows] for key in columns},
    )
    for message in scores.messages.values():
        print(message, file=sys.stderr)
    failed = "; ".join(scores.messages.values()) or None
    return [
        {
            **{name: scores.values[name][at] for name in rewards.weights},
            "error": failed if _some_none(scores.values, at) else None,
        }
        for at in range(len(rows))
    ]


def _some_none(values: dict[str, list[float | None]], at: int) -> bool:
    return any(column[at] is None for column in values.values())


def run(arguments: argparse.Namespace) -> None:
    """Score the file batch by batch. Raises InputError or ValueError for wrong input."""
    wanted = [name.strip() for name in arguments.reward.split(",") if name.strip()]
    if not wanted:
        raise InputError("--reward names no reward")
    with RewardSet(dict.fromkeys(wanted, 1.0), timeout_seconds=arguments.timeout) as rewards:
        rows = list(read_rows(arguments.input))
        if not rows:
            raise InputError(f"{arguments.input} holds no rows")
        lines = [
            json.dumps(result, ensure_ascii=False)
            for at in range(0, len(rows), BATCH_ROWS)
            for result in scored(rewards, rows[at : at + BATCH_ROWS])
        ]
    text = "".join(line + "\n" for line in lines)
    if arguments.output is None:
        sys.stdout.write(text)
        return
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{arguments.output} can't be written: {error.strerror}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        run(parser().parse_args(argv))
    except (InputError, ValueError) as error:
        print(f"rewards.score: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
