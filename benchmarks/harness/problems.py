"""The problems of a benchmark in their own order, from the hub or a file."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.harness.settings import Settings
from benchmarks.harness.shots import with_shots
from benchmarks.harness.spec import Benchmark, Source
from envs import DataError, Task
from envs.base import prompt_key
from envs.files import JSON_SUFFIXES, file_rows, hub_rows
from envs.rows import Columns, Row, tasks_from_rows


@dataclass(frozen=True)
class Problems:
    """Tasks, and what has to be known to find the same ones again."""

    tasks: list[Task]
    source: str
    sha256: str  # of prompts and columns, in order, before `limit`
    notes: list[str]
    of: int  # how many there are without `limit`
    standard: bool  # whether those are the benchmark's own: what published figures are of


def load_problems(benchmark: Benchmark, settings: Settings) -> Problems:
    """The first `limit` problems. Raises DataError, one line, for a wrong file or column."""
    source = _source_name(benchmark, settings)
    tasks, notes = _read(benchmark, settings, source) if benchmark.make is None else (benchmark.make(settings), [])
    taken, standard = benchmark.limited(tasks, settings.limit), _is_standard(benchmark, settings, tasks)
    taken = with_shots(taken, benchmark, settings, _columns(benchmark, settings))
    if benchmark.source is not None and not standard:
        of = f", {len(tasks)} of them for {benchmark.source.problems}" if benchmark.source.problems else ""
        notes.append(f"custom data: the problems of {source} are not those of {benchmark.name} as published{of}")
    return Problems(taken, source, _digest(tasks), notes, len(tasks), standard)


def fingerprint(tasks: Sequence[Task], suffix: str) -> str:
    """Hash of problems and answers in any order: of letters and digits alone, so that copies agree.

    It is the sum of the problems' hashes: parts of a benchmark can be added up.
    """
    total = 0
    for task in tasks:
        text = f"{prompt_key(task.prompt).removesuffix(prompt_key(suffix))}={task.columns.get('answer')}".lower()
        total += int.from_bytes(hashlib.sha256("".join(filter(str.isalnum, text)).encode()).digest()[:8], "big")
    return f"{total % 2**64:016x}"


def _is_standard(benchmark: Benchmark, settings: Settings, tasks: Sequence[Task]) -> bool:
    source = benchmark.source
    if source is None:  # no others have this name
        return True
    if settings.data is None and _revision(source, settings) == source.revision:
        return source.problems is None or len(tasks) == source.problems
    return fingerprint(tasks, benchmark.suffix) in source.fingerprints


def _read(benchmark: Benchmark, settings: Settings, source: str) -> tuple[list[Task], list[str]]:
    """The tasks of a file or hub data set, and what was left out."""
    rows = _adapted(_rows(benchmark, settings), benchmark)
    tasks, skipped = tasks_from_rows(rows, _columns(benchmark, settings), source=source, strict=False)
    notes = [f"left out: {line}" for line in skipped[:3]]
    if len(skipped) > 3:
        notes.append(f"left out: {len(skipped)} rows in all")
    return tasks, notes


def _columns(benchmark: Benchmark, settings: Settings) -> Columns:
    return Columns(
        prompt=benchmark.prompt_column,
        answer=benchmark.answer_column,
        answer_required=benchmark.answer_required,
        language=benchmark.language,
        suffix=benchmark.suffix if settings.template in ("chat", "r1") else "",
    )


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
            except (AttributeError, TypeError, LookupError, RecursionError) as error:
                row = ValueError(f"can't be read: {type(error).__name__}: {error}")
        yield place, row


def _digest(tasks: Sequence[Task]) -> str:
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(json.dumps([task.prompt, task.columns], sort_keys=True, default=str).encode())
    return digest.hexdigest()
