"""`python -m rewards.score`: the rewards of completions in a file.

`--reward NAME[,NAME] --input FILE.jsonl [--output FILE]`.

A row holds `prompt`, `completion` and the columns of the rewards; out comes one JSON object a row:
`{"NAME": value or null, ..., "error": text or null}`. Exit code 2 and one line for input that is wrong. A column
`completion_ids` gives the length rewards their tokens; `--option overlong.max_length=1024` the limit.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewards.base import names
from rewards.compose import RewardSet, Scores
from rewards.printable import say
from rewards.rows import InputError, read_options, read_rows, wanted_names, write_lines

BATCH_ROWS = 512
ASKED_AGAIN = 32  # rows of a batch without a value that are scored alone, to say why


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
    made.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="an option of a reward, e.g. judge.url=http://127.0.0.1:8080/v1; several times",
    )
    made.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help=f"for {BATCH_ROWS} rows (60)")
    return made


def scored(rewards: RewardSet, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output objects of a batch of rows."""
    scores = _scores(rewards, rows)
    for message in scores.messages.values():
        say(message, sys.stderr)
    missing = [at for at in range(len(rows)) if any(column[at] is None for column in scores.values.values())]
    reasons: dict[int, str | None] = dict.fromkeys(missing, "; ".join(scores.messages.values()) or None)
    if len(missing) > 1 and len(scores.messages) > 0:
        for at in missing[:ASKED_AGAIN]:  # which of the batch's messages are this row's
            reasons[at] = "; ".join(_scores(rewards, rows[at : at + 1]).messages.values()) or None
    return [
        {**{name: scores.values[name][at] for name in rewards.weights}, "error": reasons.get(at)}
        for at in range(len(rows))
    ]


def _scores(rewards: RewardSet, rows: Sequence[dict[str, Any]]) -> Scores:
    columns = dict.fromkeys(key for row in rows for key in row if key not in ("prompt", "completion"))
    return rewards.score(
        [row["prompt"] for row in rows],
        [row["completion"] for row in rows],
        columns={key: [row.get(key) for row in rows] for key in columns},
    )


def run(arguments: argparse.Namespace) -> None:
    """Score the file batch by batch. Raises InputError or ValueError for wrong input."""
    wanted = wanted_names(arguments.reward)
    options = read_options(arguments.option, wanted)
    with RewardSet(dict.fromkeys(wanted, 1.0), options, timeout_seconds=arguments.timeout) as rewards:
        rows = list(read_rows(arguments.input))
        if not rows:
            raise InputError(f"{arguments.input} holds no rows")
        without = sum(not isinstance(row.get("completion_ids"), list) for row in rows)
        if 0 < without < len(rows):
            raise InputError(
                f"{arguments.input}: {without} of {len(rows)} rows have no list completion_ids; all or none"
            )
        lines = (
            json.dumps(result)
            for at in range(0, len(rows), BATCH_ROWS)
            for result in scored(rewards, rows[at : at + BATCH_ROWS])
        )
        write_lines(arguments.output, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        run(parser().parse_args(argv))
    except (InputError, ValueError) as error:
        say(f"rewards.score: {' '.join(str(error).split())}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
