"""Texts that say the same: near duplicates within a corpus, and runs of words shared with benchmark problems.

Words are runs of letters or digits after Unicode folding and lower-casing; of scripts without spaces every character
is one. No embeddings, no random projections: the same texts always give the same verdicts.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PROMPTS = ("problem", "question", "prompt", "Question", "question_content")
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W_]+")
SHINGLE = 5  # words


@dataclass(frozen=True)
class Leak:
    """A problem and the training row that holds most of it."""

    problem: str  # FILE:LINE
    row: str
    shared: int  # runs of words
    share: float  # of the problem's
    text: str  # the first run of words they share


def words_of(text: str) -> list[str]:
    """The words that are compared."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


class ProblemIndex:
    """The runs of `size` words of benchmark problems; a shorter problem is one run."""

    def __init__(self, problems: Sequence[tuple[str, str]], size: int = 10) -> None:
        """problems: (place, text)."""
        self.problems, self.size = problems, size
        self.totals: list[int] = []
        self.lengths: set[int] = set()
        self.index: dict[tuple[str, ...], list[int]] = {}
        for number, (_, text) in enumerate(problems):
            grams = _grams(words_of(text), size)
            self.totals.append(len(grams))
            self.lengths |= {len(next(iter(grams)))}
            for gram in grams:
                self.index.setdefault(gram, []).append(number)

    def shared(self, text: str) -> dict[int, tuple[int, tuple[str, ...]]]:
        """Problem -> (how many different runs the text shares with it, the first of them)."""
        words = words_of(text)
        counts: Counter[int] = Counter()
        first: dict[int, tuple[str, ...]] = {}
        for length in sorted(self.lengths):
            for gram in dict.fromkeys(tuple(words[at : at + length]) for at in range(len(words) - length + 1)):
                for number in self.index.get(gram, ()):
                    counts[number] += 1
                    first.setdefault(number, gram)
        return {number: (count, first[number]) for number, count in counts.items()}

    def holds(self, text: str) -> str | None:
        """The place of the problem that the text shares most with; None if it shares no run with any."""
        found = self.shared(text)
        if not found:
            return None
        return self.problems[max(found, key=lambda number: (found[number][0], -number))][0]


def find_leaks(problems: Sequence[tuple[str, str]], rows: Iterable[tuple[str, str]], size: int = 10) -> list[Leak]:
    """The problems that stand in a row, with the row that shares most, in the problems' order.

    Memory is that of the problems; rows are read once, one after the other.
    """
    index = ProblemIndex(problems, size)
    best: dict[int, Leak] = {}
    for place, text in rows:
        for number, (shared, first) in index.shared(text).items():
            if number not in best or shared > best[number].shared:
                best[number] = Leak(problems[number][0], place, shared, shared / index.totals[number], " ".join(first))
    return [best[number] for number in sorted(best)]


def problem_texts(file: str) -> list[tuple[str, str]]:
    """(place, problem) of every row of a benchmark file. DataError for a file without problems."""
    from envs import DataError

    found = []
    for place, row in object_rows(file):
        text = next((str(row[name]) for name in PROMPTS if isinstance(row.get(name), str)), None)
        if text is not None and words_of(text):
            found.append((place, text))
    if not found:
        raise DataError(f"{file}: no row has a column {', '.join(PROMPTS)}")
    return found


def object_rows(file: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of every row of a JSON file that is an object."""
    from envs.files import file_rows

    for place, row in file_rows(file):
        if isinstance(row, Mapping):
            yield place, row


def _grams(words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """Every run of `size` words; a shorter text is one run."""
    return {tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1))}


def near_duplicates(texts: Sequence[str], threshold: float, size: int = SHINGLE) -> list[int | None]:
    """For each text the earlier one that it repeats, None for those to keep.

    Repeating: |A & B| / |A | B| >= threshold for the sets of runs of `size` words. Texts are compared with those kept
    so far, so a chain of small changes does not drift away. Exact: two sets that alike share one of their
    |A| - ceil(threshold |A|) + 1 rarest runs (prefix filtering, Chaudhuri et al. 2006), and those are indexed.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    sets = [{hash(gram) for gram in _grams(words_of(text), size)} for text in texts]
    frequency = Counter(gram for grams in sets for gram in grams)
    index: dict[int, list[int]] = {}
    repeated: list[int | None] = []
    for number, grams in enumerate(sets):
        needed = math.ceil(threshold * len(grams) - 1e-9)
        prefix = sorted(grams, key=lambda gram: (frequency[gram], gram))[: len(grams) - needed + 1]
        candidates = {other for gram in prefix for other in index.get(gram, ())}
        found = min((other for other in candidates if _alike(grams, sets[other], threshold)), default=None)
        repeated.append(found)
        if found is None:
            for gram in prefix:
                index.setdefault(gram, []).append(number)
    return repeated


def _alike(one: set[int], other: set[int], threshold: float) -> bool:
    if min(len(one), len(other)) < threshold * max(len(one), len(other)) - 1e-9:
        return False
    both = len(one & other)
    return both >= threshold * (len(one) + len(other) - both) - 1e-9
