"""The problems of a benchmark in their own order, from the hub or a file."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.harness.settings import Settings
from benchmarks.harness.spec import Benchmark, Source
from envs import DataError, Task
from envs.files import JSON_SUFFIXES, file_rows, hub_rows
from envs.rows import Columns, Row, tasks_from_rows


@dataclass(frozen=True)
class Problems:
    """Tasks, and what has to be known to find the same ones again."""

    tasks: list[Task]
    source: str
    sha256: str  # of prompts and columns, in order, before `limit`
    notes: list[str]


def load_problems(benchmark: Benchmark, settings: Settings) -> Problems:
    """The first `limit` problems. Raises DataError, one line, for a wrong file or column."""
    source = _source_name(benchmark, settings)
    tasks, notes = _read(benchmark, settings, source) if benchmark.make is None else (benchmark.make(settings), [])
    expected = benchmark.source.problems if benchmark.source is not None else None
    if expected is not None and len(tasks) != expected:
        notes.append(f"{source} has {len(tasks)} problems, {benchmark.name} as published has {expected}")
    return Problems(list(tasks[: settings.limit]), source, _digest(tasks), notes)


def _read(benchmark: Benchmark, settings: Settings, source: str) -> tuple[list[Task], list[str]]:
    """The tasks of a file or hub data set, and what was left out."""
    columns = Columns(
        prompt=benchmark.prompt_column,
        answer=benchmark.answer_column,
        answer_required=benchmark.answer_required,
        language=benchmark.language,
        suffix=benchmark.suffix if settings.template in ("chat", "r1") else "",
    )
    rows = _adapted(_rows(benchmark, settings), benchmark)
    tasks, skipped = tasks_from_rows(rows, columns, source=source, strict=False)
    notes = [f"left out: {line}" for line in skipped[:3]]
    if len(skipped) > 3:
        notes.append(f"left out: {len(skipped)} rows in all")
    return tasks, notes


def _source_name(benchmark: Benchmark, settings: Settings) -> str:
    if benchmark.make is not None:
        if settings.data is not None:
            raise DataError(f"{benchmark.name} makes its problems itself: there is no --data")
        return f"generated: {benchmark.variant}"
    if settings.data is not None:
        return settings.data
    if benchmark.source is None:
        raise DataError(f"{benchmark.name} has no copy on the hub: name a file with --data")
    return f"{benchmark.source.hub}@{_revision(benchmark.source, settings)}"


def _revision(source: Source, settings: Settings) -> str:
    return settings.data_revision or source.revision


def _rows(benchmark: Benchmark, settings: Settings) -> Iterator[Row]:
    if settings.data is not None and settings.data.endswith(JSON_SUFFIXES):
        return file_rows(settings.data)
    if settings.data is not None:
        return hub_rows(settings.data, configs=(None,), split="test", revision=settings.data_revision)
    assert benchmark.source is not None
    return _hub_rows(benchmark.source, _revision(benchmark.source, settings))


def _hub_rows(source: Source, revision: str) -> Iterator[Row]:
    for name in source.files:
        for place, row in file_rows(_downloaded(source.hub, name, revision)):
            yield f"{source.hub}/{name}:{place.rpartition(':')[2]}", row
    for config in source.configs if not source.files else ():
        for place, row in hub_rows(source.hub, configs=(config,), split=source.split, revision=revision):
            yield place, {**row, source.config_column: config} if source.config_column else row


def _downloaded(repository: str, name: str, revision: str) -> str:
    from huggingface_hub import hf_hub_download

    try:
        return hf_hub_download(repository, name, repo_type="dataset", revision=revision)
    except Exception as error:  # the client lets through whatever its network and file layers raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{repository}: {name} can't be had from the hub: {reason}") from None


def _adapted(rows: Iterator[Row], benchmark: Benchmark) -> Iterator[Row]:
    """The rows as the benchmark wants them read; a row it can't use is a ValueError, counted like any other."""
    for place, row in rows:
        if benchmark.adapt is not None and isinstance(row, Mapping):
            try:
                row = benchmark.adapt(row)
                if benchmark.keep is not None and not benchmark.keep(row):
                    continue
            except KeyError as error:
                row = ValueError(f"no column {error.args[0]}; found {', '.join(row) or 'no column'}")
            except ValueError as reason:
                row = reason
        yield place, row


def _digest(tasks: Sequence[Task]) -> str:
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(json.dumps([task.prompt, task.columns], sort_keys=True, default=str).encode())
    return digest.hexdigest()
