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
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROMPTS = ("problem", "question", "prompt", "Question", "question_content")
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W_]+")


@dataclass(frozen=True)
class Leak:
    """A problem and the training row that holds most of it."""

    problem: str  # FILE:LINE
    row: str
    shared: int  # 10-grams
    share: float  # of the problem's
    text: str  # the first run of words they share


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
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    _print(options.benchmark, problems, leaks)
    return 1 if options.fail and leaks else 0


def words_of(text: str) -> list[str]:
    """The words that are compared."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def problem_texts(file: str) -> list[tuple[str, str]]:
    """(place, problem) of every row. DataError for a file without problems."""
    from envs import DataError

    found = []
    for place, row in _rows(file):
        text = next((str(row[name]) for name in PROMPTS if isinstance(row.get(name), str)), None)
        if text is not None and words_of(text):
            found.append((place, text))
    if not found:
        raise DataError(f"{file}: no row has a column {', '.join(PROMPTS)}")
    return found


def row_texts(file: str) -> Iterator[tuple[str, str]]:
    """(place, all its text) of every row."""
    for place, row in _rows(file):
        yield place, " \n ".join(_strings(row))


def _rows(file: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from envs.files import file_rows

    for place, row in file_rows(file):
        if isinstance(row, Mapping):
            yield place, row


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def find_leaks(problems: Sequence[tuple[str, str]], rows: Iterator[tuple[str, str]], size: int = 10) -> list[Leak]:
    """The leaked problems with the row that shares most, in the problems' order.

    Memory is that of the problems; training rows are read once, one after the other.
    """
    index: dict[tuple[str, ...], list[int]] = {}
    totals = []
    lengths = set()
    for number, (_, text) in enumerate(problems):
        grams = _grams(words_of(text), size)
        totals.append(len(grams))
        lengths |= {len(next(iter(grams)))}
        for gram in grams:
            index.setdefault(gram, []).append(number)
    best: dict[int, Leak] = {}
    for place, text in rows:
        words = words_of(text)
        for number, (shared, first) in _shared(words, lengths, index).items():
            if number not in best or shared > best[number].shared:
                best[number] = Leak(problems[number][0], place, shared, shared / totals[number], " ".join(first))
    return [best[number] for number in sorted(best)]


def _grams(words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """Every run of `size` words; a shorter text is one run."""
    return {tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1))}


def _shared(
    words: Sequence[str], lengths: set[int], index: Mapping[tuple[str, ...], Sequence[int]]
) -> dict[int, tuple[int, tuple[str, ...]]]:
    """Problem -> (how many different runs a row shares with it, the first of them)."""
    counts: Counter[int] = Counter()
    first: dict[int, tuple[str, ...]] = {}
    for length in lengths:
        for gram in dict.fromkeys(tuple(words[at : at + length]) for at in range(len(words) - length + 1)):
            for number in index.get(gram, ()):
                counts[number] += 1
                first.setdefault(number, gram)
    return {number: (count, first[number]) for number, count in counts.items()}


def _print(files: Sequence[str], problems: Sequence[tuple[str, str]], leaks: Sequence[Leak]) -> None:
    print("| benchmark | problems | leaked | of them nearly whole (share of at least 0.8) |\n|---|---|---|---|")
    for file in files:
        mine = [leak for leak in leaks if leak.problem.rpartition(":")[0].startswith(file)]
        count = sum(place.rpartition(":")[0].startswith(file) for place, _ in problems)
        print(f"| {Path(file).name} | {count} | {len(mine)} | {sum(leak.share >= 0.8 for leak in mine)} |")
    for leak in sorted(leaks, key=lambda one: -one.share)[:10]:
        print(f"{leak.problem} in {leak.row}: share {leak.share:.2f}, e.g. {leak.text!r}")


if __name__ == "__main__":
    sys.exit(main())
