"""Tasks from a data set: a local JSONL, JSON, parquet or CSV file, a hub id, or rows already in memory."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.base import DataError, Env, Task
from envs.files import JSON_SUFFIXES, file_rows, hub_rows
from envs.rows import ANSWER_COLUMN, Columns, Row, tasks_from_rows
from envs.splits import cut, seeded, split_tasks, without_prompts

ENDLESS = 100_000  # rows taken of a generator that may have no end


def from_data(
    data: str,
    *,
    config: str | Sequence[str] | None = None,
    split: str = "train",
    test_split: str | None = None,
    revision: str | None = None,
    test_data: str | None = None,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    answer_required: bool = True,
    language: str | None = None,
    suffix: str = "",
    strict: bool = False,
    test_size: int | float | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_rows: int | None = None,
    in_order: bool = False,
) -> Env:
    """An Env over a file or hub data set.

    The test split is `test_data` (another file or data set) or `test_split` (of the same data set) if given; their
    prompts are left out of training. Otherwise `test_size` prompts are held out. `config` may be several, read one
    after the other. `answer_required=False` is for rewards that need no reference answer. `max_rows` are read, from
    the start. `in_order` leaves the training tasks as their rows stand.
    """
    columns = Columns(prompt_column, answer_column, answer_required, language, suffix)
    how = Reading(columns, strict=strict, test_size=test_size, seed=seed, limit=limit, in_order=in_order)
    configs: Sequence[str | None] = [config] if config is None or isinstance(config, str) else list(config)
    rows = itertools.islice(_rows(data, configs=configs, split=split, revision=revision), max_rows)
    if test_data is None and (test_split is None or _is_file(data)):
        return how.env(data, rows)
    test_source = test_data or data
    if test_source != data:
        configs, revision = [None], None  # they describe `data`
    test_rows = _rows(test_source, configs=configs, split=test_split or "test", revision=revision)
    return how.env(data, rows, test_rows, test_source=test_source)


def from_rows(
    rows: Any,
    *,
    name: str = "train_dataset",
    prompt_column: str | None = None,
    answer_column: str | None = None,
    answer_required: bool = False,
    language: str | None = None,
    suffix: str = "",
    strict: bool = False,
    test_size: int | float | None = 0,
    seed: int = 0,
    limit: int | None = None,
    max_rows: int | None = None,
    in_order: bool = False,
) -> Env:
    """An Env over rows in memory, such as a `datasets.Dataset` with a `prompt` column. Nothing is held out unasked.

    Columns reach the rewards as they are. Of a generator at most `max_rows` are taken, or 100,000, which a note says.
    """
    columns = Columns(prompt_column, answer_column, answer_required, language, suffix, verbatim=True)
    how = Reading(columns, strict=strict, test_size=test_size, seed=seed, limit=limit, in_order=in_order)
    taken, notes = bounded(records(rows), name, max_rows)
    return how.env(name, numbered(taken, name), notes=notes)


@dataclass(frozen=True)
class Reading:
    """Settings that turn rows into the splits of an Env."""

    columns: Columns
    strict: bool
    test_size: int | float | None
    seed: int
    limit: int | None
    in_order: bool = False  # the training tasks stand as their rows do, not in an order of the seed's

    def env(
        self,
        name: str,
        rows: Iterable[Row],
        test_rows: Iterable[Row] | None = None,
        *,
        test_source: str | None = None,
        notes: Sequence[str] = (),
    ) -> Env:
        """The Env over rows; without `test_rows` some of them are held out."""
        test_source = test_source or name
        tasks, skipped = tasks_from_rows(rows, self.columns, source=name, strict=self.strict)
        notes = [*notes, *_notes_on_answers(tasks, self.columns)]
        answered = any(task.columns.get(ANSWER_COLUMN) is not None for task in tasks)
        judges = ("accuracy",) if answered else ()  # without answers whatever the user's own reward is
        if test_rows is None:
            splits, more = split_tasks(tasks, seed=self.seed, test_size=self.test_size)
            splits = cut({**splits, "train": self._ordered(splits["train"], tasks)}, self.limit)
            return Env(name, splits, reward_names=judges, skipped=skipped, notes=[*notes, *more])
        test, test_skipped = tasks_from_rows(test_rows, self.columns, source=test_source, strict=self.strict)
        train, more = without_prompts(tasks, test)
        if not train:
            raise DataError(f"{name}: every prompt is also in the test data {test_source}: nothing is left to train on")
        train = self._ordered(seeded(train, self.seed, "order"), train)
        splits = {"train": train, "test": seeded(test, self.seed, "test order")}
        left_out = [*skipped, *test_skipped]
        return Env(name, cut(splits, self.limit), reward_names=judges, skipped=left_out, notes=[*notes, *more])

    def _ordered(self, train: list[Task], rows: Sequence[Task]) -> list[Task]:
        """The training tasks in their order: the seed's, or that of their rows."""
        places = {id(task): place for place, task in enumerate(rows)}
        return sorted(train, key=lambda task: places[id(task)]) if self.in_order else train


def records(rows: Any) -> Any:
    """Rows of a table of pandas one by one; any others as they are."""
    return rows.to_dict("records") if hasattr(rows, "to_dict") and hasattr(rows, "iloc") else rows


def bounded(rows: Iterable[Any], name: str, max_rows: int | None = None) -> tuple[list[Any], list[str]]:
    """The first `max_rows` rows; if None all, or the first 100,000 of what has no length, with a note on the rest."""
    endless = not hasattr(rows, "__len__")
    most = max_rows if max_rows is not None else ENDLESS if endless else None
    iterator = iter(rows)
    taken = list(itertools.islice(iterator, most))
    if most is None or max_rows is not None or next(iterator, None) is None:
        return taken, []
    return taken, [
        f"{name} gives more than {most:,} rows and may have no end: the first {most:,} are taken (max_rows=N)"
    ]


def numbered(rows: Iterable[Any], name: str) -> Iterator[Row]:
    """Rows with the place they stand at, `NAME:1` and on."""
    return ((f"{name}:{number}", row) for number, row in enumerate(rows, start=1))


def _notes_on_answers(tasks: Sequence[Task], columns: Columns) -> list[str]:
    """Return whether the answers are objects, which no built-in reward can compare with."""
    answer = next((answer for task in tasks if (answer := task.columns.get(ANSWER_COLUMN)) is not None), None)
    if not isinstance(answer, Mapping) or not columns.answer_required:
        return []
    keys = ", ".join(map(str, answer))
    column = columns.answer or ANSWER_COLUMN
    return [
        f"the answers are objects ({keys}), which accuracy can't read: answer_column={column}.KEY takes one of these"
    ]


def _rows(source: str, *, configs: Sequence[str | None], split: str, revision: str | None) -> Iterator[Row]:
    if source.endswith(JSON_SUFFIXES):
        return file_rows(source)
    return hub_rows(source, configs=configs, split=split, revision=revision)


def _is_file(source: str) -> bool:
    return source.endswith(JSON_SUFFIXES) or Path(source).is_file()
