"""All indexed completions as columns, and the selections a reader makes of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ["training", "held out", "held out, greedy", "probe"]
SORTS = {"newest": -1, "oldest": 1, "best": -1, "worst": 1, "longest": -1, "shortest": 1}
PAGE = 24  # completions of one answer
WORDS = re.compile(r'"([^"]+)"|(\S+)')

REWARD, ADVANTAGE, TOKENS, RECHECKS, ONE_SCRIPT = range(5)  # columns of Part.figures
OFFSET, LENGTH, GROUP, SAMPLE = range(4)  # columns of Part.places


@dataclass
class Part:
    """The rows of one file. Lists have an item a row."""

    path: Path
    run: int
    kind: str
    step: int
    signature: tuple[int, int]  # size and time of change of the file as it was read
    bad: int = 0  # lines that are no JSON objects
    group_count: int = 0
    asked_last: str = ""  # task and prompt of the group being read
    tasks: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # task and prompt, folded
    stops: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # what the model said, folded
    places: list[tuple[int, int, int, int]] = field(default_factory=list)  # offset, length, group, sample
    figures: list[tuple[float, float, float, float, float]] = field(default_factory=list)  # see the names above
    rewards: list[dict[str, float]] = field(default_factory=list)  # by name, NaN where missing


class QueryError(ValueError):
    """A selection that can't be made; the message is one clear line."""


@dataclass(frozen=True)
class Query:
    """What a reader wants to see. An empty text, or None, selects everything."""

    run: int | None = None
    kind: str = ""
    first_step: float | None = None
    last_step: float | None = None
    task: str = ""  # part of a task's id or prompt
    part: str = ""  # the reward that `low` and `high` are about; empty = the weighted sum
    low: float | None = None
    high: float | None = None
    stop: str = ""
    words: str = ""  # all of them must have been said; "in quotes" as they stand
    sort: str = "newest"
    page: int = 0

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> "Query":
        """Read the query of an address; QueryError names the key, the rule and the value."""
        known = {one.name: one.type for one in fields(cls)}
        values: dict[str, Any] = {}
        for key, text in given.items():
            if key not in known:
                raise QueryError(f"there is no filter {key!r}; there are {', '.join(known)}")
            if text != "":
                values[key] = _value(key, text, str(known[key]))
        if values.get("sort", "newest") not in SORTS:
            raise QueryError(f"sort must be one of {', '.join(SORTS)}, got {values['sort']!r}")
        return cls(**values)


def _value(key: str, text: str, kind: str) -> Any:
    if "str" in kind:
        return text
    try:
        found = float(text)
    except ValueError:
        found = np.nan
    if np.isnan(found) or ("int" in kind and (found != int(found) or found < 0)):
        rule = "a whole number of at least 0" if "int" in kind else "a number"
        raise QueryError(f"{key} must be {rule}, got {text!r}")
    return int(found) if "int" in kind else found


class Table:
    """Columns over the rows of all parts, in the order of the parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        sizes = np.array([len(part.tasks) for part in parts], np.int64)
        self.first_rows = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)  # [parts + 1]
        self.file = np.repeat(np.arange(len(self.parts)), sizes)  # [rows], like all columns below
        self.run = np.repeat(np.array([part.run for part in parts], np.int32), sizes)
        self.step = np.repeat(np.array([part.step for part in parts], np.int64), sizes)
        self.kind = np.repeat(np.array([KINDS.index(part.kind) for part in parts], np.int8), sizes)
        self.places = np.array([place for part in parts for place in part.places], np.int64).reshape(-1, 4)
        self.figures = np.array([figure for part in parts for figure in part.figures]).reshape(-1, 5)
        self.tasks = [task for part in parts for task in part.tasks]
        self.asked = [asked for part in parts for asked in part.asked]
        self.stops = np.array([stop for part in parts for stop in part.stops], dtype=object)
        self.texts = [text for part in parts for text in part.texts]
        groups = np.concatenate([[0], np.cumsum([part.group_count for part in parts])]).astype(np.int64)
        self.group = self.places[:, GROUP] + groups[self.file]  # of the whole table
        self.group_count = int(groups[-1])
        self.matching = lru_cache(64)(self._matching)

    def __len__(self) -> int:
        return len(self.tasks)

    @cached_property
    def reward_names(self) -> list[str]:
        """Every reward of any row, in the order of their first rows."""
        return list(dict.fromkeys(name for part in self.parts for row in part.rewards for name in row))

    @cached_property
    def rewards(self) -> np.ndarray:
        """[rows, names], NaN where a row has no value."""
        values = np.full((len(self), len(self.reward_names)), np.nan)
        column = {name: place for place, name in enumerate(self.reward_names)}
        row = 0
        for part in self.parts:
            for rewards in part.rewards:
                for name, value in rewards.items():
                    values[row, column[name]] = value
                row += 1
        return values

    def reward(self, name: str) -> np.ndarray:
        """[rows] of one reward, or of the weighted sum for an empty name; QueryError if there is no such reward."""
        if not name:
            return np.asarray(self.figures[:, REWARD])
        if name not in self.reward_names:
            raise QueryError(f"there is no reward {name!r}; there are {', '.join(self.reward_names) or 'none'}")
        return np.asarray(self.rewards[:, self.reward_names.index(name)])

    def select(self, query: Query) -> np.ndarray:
        """Return the rows a query asks for, sorted; all pages."""
        keep = np.ones(len(self), bool)
        if query.run is not None:
            keep &= self.run == query.run
        if query.kind:
            if query.kind not in KINDS:
                raise QueryError(f"kind must be one of {', '.join(KINDS)}, got {query.kind!r}")
            keep &= self.kind == KINDS.index(query.kind)
        if query.first_step is not None:
            keep &= self.step >= query.first_step
        if query.last_step is not None:
            keep &= self.step <= query.last_step
        if query.stop:
            keep &= self.stops == query.stop
        if query.low is not None or query.high is not None:
            values = self.reward(query.part)
            keep &= values >= (-np.inf if query.low is None else query.low)
            keep &= values <= (np.inf if query.high is None else query.high)
        if query.task:
            keep &= self.matching("asked", query.task.casefold())
        for quoted, plain in WORDS.findall(query.words.casefold()):
            keep &= self.matching("texts", quoted or plain)
        return self._sorted(np.flatnonzero(keep), query)

    def _matching(self, column: str, word: str) -> np.ndarray:
        """[rows] whether the text of a column holds the word; the answer is kept for the next page."""
        texts = self.asked if column == "asked" else self.texts
        return np.fromiter((word in text for text in texts), bool, len(texts))

    def _sorted(self, rows: np.ndarray, query: Query) -> np.ndarray:
        """Groups stay together by step; by reward or length completions of different groups mix."""
        sign = SORTS[query.sort]
        best_first = -np.nan_to_num(self.figures[rows, ADVANTAGE], nan=-np.inf)
        if query.sort in ("newest", "oldest"):
            keys = (self.places[rows, SAMPLE], best_first, self.group[rows], sign * self.step[rows])
            return rows[np.lexsort(keys)]
        values = self.reward(query.part) if query.sort in ("best", "worst") else self.figures[:, TOKENS]
        worth = np.nan_to_num(sign * values[rows], nan=np.inf)  # without a value: last
        return rows[np.lexsort((rows, -self.step[rows], worth))]

    def find(self, name: str) -> int | None:
        """The row of a name that `name_of` gave; None if it is gone."""
        run, _, rest = name.partition("/")
        file, _, place = rest.rpartition("/")
        for number, part in enumerate(self.parts):
            if str(part.run) == run and f"{part.path.parent.name}/{part.path.name}" == file and place.isdecimal():
                row = int(self.first_rows[number]) + int(place)
                return row if row < self.first_rows[number + 1] else None
        return None

    def name_of(self, row: int) -> str:
        """A name of a row that stays the same while files are added: run, file and place in it."""
        part = self.parts[self.file[row]]
        return f"{part.run}/{part.path.parent.name}/{part.path.name}/{row - self.first_rows[self.file[row]]}"
