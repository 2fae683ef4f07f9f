"""Does a training file hold benchmark problems? Overlap of runs of ten words, no embeddings.

    python -m benchmarks.leak --train my_sft.jsonl [MORE] --benchmark math500.jsonl [MORE] [--output leaks.jsonl]

Every text of every row is read, whatever its column (of messages the contents). Words are runs of letters or digits
after Unicode folding and lower-casing; of scripts without spaces every character is one. A problem counts as leaked
if a training row holds one of its 10-grams (the criterion of the GPT-3 and open-r1 decontamination, with --words
others); a problem shorter than that, if a row holds all of it. `share` says how much of the problem's 10-grams the
row with most of them has: a common phrase gives a few, a copy all of them.
Exit code 0 whether or not something is found; 1 with --fail if something is.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill.corpus.duplicates import Leak, find_leaks, object_rows, problem_texts
from rewards.printable import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table by file and the first leaks; every one goes to --output."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", nargs="+", required=True, metavar="FILE", help="JSONL files trained on")
    parser.add_argument("--benchmark", nargs="+", required=True, metavar="FILE", help="JSONL files of problems")
    parser.add_argument("--words", type=int, default=10, help="length of a run (default 10)")
    parser.add_argument("--output", type=Path, help="one JSON object a leaked problem")
    parser.add_argument("--fail", action="store_true", help="exit code 1 if a problem is leaked")
    options = parser.parse_args(arguments)
    if options.words < 1:
        parser.error(f"--words must be at least 1, got {options.words}")
    from envs import DataError

    try:
        problems = [pair for file in options.benchmark for pair in problem_texts(file)]
        leaks = find_leaks(problems, (pair for file in options.train for pair in row_texts(file)), options.words)
        if options.output is not None:
            lines = [json.dumps(asdict(leak), ensure_ascii=False) + "\n" for leak in leaks]
            options.output.write_text("".join(lines), encoding="utf-8")
    except (DataError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}", sys.stderr)
        return 2
    _print(options.benchmark, problems, leaks)
    return 1 if options.fail and leaks else 0


def row_texts(file: str) -> Iterator[tuple[str, str]]:
    """(place, all its text) of every row."""
    for place, row in object_rows(file):
        yield place, " \n ".join(_strings(row))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _print(files: Sequence[str], problems: Sequence[tuple[str, str]], leaks: Sequence[Leak]) -> None:
    print("| benchmark | problems | leaked | of them nearly whole (share of at least 0.8) |\n|---|---|---|---|")
    for file in files:
        mine = [leak for leak in leaks if leak.problem.rpartition(":")[0].startswith(file)]
        count = sum(place.rpartition(":")[0].startswith(file) for place, _ in problems)
        print(f"| {Path(file).name} | {count} | {len(mine)} | {sum(leak.share >= 0.8 for leak in mine)} |")
    for leak in sorted(leaks, key=lambda one: -one.share)[:10]:
        say(f"{leak.problem} in {leak.row}: share {leak.share:.2f}, e.g. {leak.text!r}")


if __name__ == "__main__":
    sys.exit(main())
