"""Tasks from a data set: a local JSONL, JSON, parquet or CSV file, a hub id, or rows already in memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.base import DataError, Env, Task
from envs.files import JSON_SUFFIXES, file_rows, hub_rows
from envs.rows import Columns, Row, tasks_from_rows
from envs.splits import cut, seeded, split_tasks, without_prompts


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
) -> Env:
    """An Env over a file or hub data set.

    The test split is `test_data` (another file or data set) or `test_split` (of the same data set) if given; their
    prompts are left out of training. Otherwise `test_size` prompts are held out. `config` may be several, read one
    after the other. `answer_required=False` is for rewards that need no reference answer.
    """
    columns = Columns(prompt_column, answer_column, answer_required, language, suffix)
    configs: Sequence[str | None] = [config] if config is None or isinstance(config, str) else list(config)
    rows = _rows(data, configs=configs, split=split, revision=revision)
    tasks, skipped = tasks_from_rows(rows, columns, source=data, strict=strict)
    if test_data is None and (test_split is None or _is_file(data)):
        splits, notes = split_tasks(tasks, seed=seed, test_size=test_size, limit=limit)
        return Env(data, splits, skipped=skipped, notes=notes)
    test_source = test_data or data
    if test_source != data:
        configs, revision = [None], None  # they describe `data`
    test_rows = _rows(test_source, configs=configs, split=test_split or "test", revision=revision)
    test, test_skipped = tasks_from_rows(test_rows, columns, source=test_source, strict=strict)
    splits, notes = _two_sources(tasks, test, seed=seed, limit=limit, source=data, test_source=test_source)
    return Env(data, splits, skipped=[*skipped, *test_skipped], notes=notes)


def from_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    name: str = "train_dataset",
    answer_required: bool = False,
    test_size: int | float | None = 0,
    seed: int = 0,
    limit: int | None = None,
) -> Env:
    """An Env over rows in memory, such as a `datasets.Dataset` with a `prompt` column. Nothing is held out unasked."""
    numbered = ((f"{name}:{number}", row) for number, row in enumerate(rows, start=1))
    columns = Columns(answer_required=answer_required)
    tasks, skipped = tasks_from_rows(numbered, columns, source=name, strict=False)
    splits, notes = split_tasks(tasks, seed=seed, test_size=test_size, limit=limit)
    return Env(name, splits, skipped=skipped, notes=notes)


def _rows(source: str, *, configs: Sequence[str | None], split: str, revision: str | None) -> Iterator[Row]:
    if source.endswith(JSON_SUFFIXES):
        return file_rows(source)
    return hub_rows(source, configs=configs, split=split, revision=revision)


def _is_file(source: str) -> bool:
    return source.endswith(JSON_SUFFIXES) or Path(source).is_file()


def _two_sources(
    tasks: list[Task], test: list[Task], *, seed: int, limit: int | None, source: str, test_source: str
) -> tuple[dict[str, list[Task]], list[str]]:
    train, notes = without_prompts(tasks, test)
    if not train:
        raise DataError(f"{source}: every prompt is also in the test data {test_source}: nothing is left to train on")
    return cut({"train": seeded(train, seed, "order"), "test": seeded(test, seed, "test order")}, limit), notes
