"""Search over a local corpus by BM25 (Robertson and Zaragoza 2009, The Probabilistic Relevance Framework)."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.base import DataError
from envs.tools.functions import FunctionTool

K1, B = 1.5, 0.75
WORD = re.compile(r"\w+")
SHOWN = 600  # characters of a document in a result


class Corpus:
    """Documents that can be searched.

    score(d, q) = sum over words t of q of idf(t) * tf (k1 + 1) / (tf + k1 (1 - b + b |d| / mean |d|)),
    idf(t) = ln(1 + (n - df + 0.5) / (df + 0.5))
    """

    def __init__(self, documents: Sequence[str]) -> None:
        if not documents:
            raise DataError("search: the corpus holds no documents")
        self.documents = list(documents)
        self._counts = [Counter(words(text)) for text in documents]
        self._lengths = [counts.total() for counts in self._counts]
        self._mean = sum(self._lengths) / len(documents) or 1.0
        self._places: dict[str, list[int]] = {}
        for place, counts in enumerate(self._counts):
            for word in counts:
                self._places.setdefault(word, []).append(place)

    def best(self, query: str, count: int = 3) -> list[tuple[float, str]]:
        """Return the best documents with their scores, the best first; only such as hold a word of the query."""
        scores: Counter[int] = Counter()
        for word in set(words(query)):
            places = self._places.get(word, [])
            idf = math.log(1 + (len(self.documents) - len(places) + 0.5) / (len(places) + 0.5))
            for place in places:
                often, length = self._counts[place][word], self._lengths[place] / self._mean
                scores[place] += idf * often * (K1 + 1) / (often + K1 * (1 - B + B * length))  # type: ignore[assignment]
        ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:count]
        return [(score, self.documents[place]) for place, score in ranked]


def words(text: str) -> list[str]:
    """Words of a text, in small letters."""
    return WORD.findall(text.lower())


def search_tool(corpus: Corpus, count: int = 3) -> FunctionTool:
    """A tool `search(query)` over a corpus."""

    def search(query: str) -> str:
        """Search the documents and return the best passages.

        Args:
            query: a few words
        """
        found = corpus.best(query, count)
        if not found:
            return "nothing found"
        return "\n\n".join(f"[{number}] {text[:SHOWN]}" for number, (_, text) in enumerate(found, start=1))

    return FunctionTool(search)


def read_corpus(path: str) -> Corpus:
    """Read documents: a JSONL file with `text` (and `title`) a line, or a folder of .txt and .md files."""
    place = Path(path)
    if place.is_dir():
        files = sorted([*place.rglob("*.txt"), *place.rglob("*.md")])
        return Corpus([file.read_text("utf-8", "replace") for file in files])
    try:
        lines = place.read_text("utf-8").splitlines()
    except OSError as error:
        raise DataError(f"search: {path} can't be read: {error.strerror}") from error
    return Corpus([_document(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()])


def _document(line: str, place: str) -> str:
    try:
        row = json.loads(line)
    except ValueError:
        raise DataError(f"{place}: not JSON") from None
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        raise DataError(f'{place}: a document needs a "text"')
    fields: dict[str, Any] = dict(row)
    return f"{fields['title']}\n{fields['text']}" if isinstance(fields.get("title"), str) else fields["text"]
