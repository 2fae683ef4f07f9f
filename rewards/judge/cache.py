"""Verdicts that were given once are not asked for again, in this run or, with a file, in the next."""

import hashlib
import json
import threading
from collections import OrderedDict
from pathlib import Path

from rewards.judge.protocol import Case
from rewards.lines import append, intact

CACHE_ENTRIES = 20_000  # in memory


class VerdictCache:
    """Values of judged cases, the newest CACHE_ENTRIES in memory and, with a path, all in a file."""

    def __init__(self, path: str | None, judge: str) -> None:
        self._judge, self._values = judge, OrderedDict[str, float]()
        self._path = Path(path) if path is not None else None
        self._lock = threading.Lock()
        if self._path is not None and self._path.exists():
            try:
                lines = self._path.read_bytes().splitlines(keepends=True)
            except OSError as error:
                raise ValueError(f"judge.cache {path} can't be read: {error.strerror}") from None
            for line in lines:
                self._remember(line)

    def get(self, case: Case) -> float | None:
        """The value of this case, if this judge has judged it."""
        with self._lock:
            return self._values.get(self._key(case))

    def put(self, case: Case, value: float) -> None:
        """Keep a value. OSError where the file can't be written; the value is kept in memory then."""
        key = self._key(case)
        with self._lock:
            self._values[key] = value
            while len(self._values) > CACHE_ENTRIES:
                self._values.popitem(last=False)
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                append(self._path, [json.dumps({"case": key, "value": value})])

    def _remember(self, line: bytes) -> None:
        """One line of the file; a torn last line of a killed run is left out, as is one that has changed."""
        try:
            row = json.loads(line)
            key, value = row["case"], row["value"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if intact(line) and isinstance(key, str) and isinstance(value, int | float) and 0 <= value <= 1:
            self._values[key] = float(value)

    def _key(self, case: Case) -> str:
        return hashlib.sha256(json.dumps([self._judge, case.prompt, case.text, case.domain]).encode()).hexdigest()
