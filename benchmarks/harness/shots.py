"""Worked examples before each problem: few-shot prompts, for models that follow an example better than an instruction.

They are the first usable rows of `--shots-data`, or of the split that the benchmark has for it on the hub; problems
that are asked themselves are left out. A chat template gets them as turns of user and assistant, `--template plain` as
text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.harness.settings import Settings
from benchmarks.harness.spec import Benchmark
from envs import DataError, Message, Task
from envs.base import prompt_key
from envs.files import JSON_SUFFIXES, file_rows, hub_rows
from envs.rows import GSM8K_MARK, Columns, Row, tasks_from_rows


def with_shots(tasks: Sequence[Task], benchmark: Benchmark, settings: Settings, columns: Columns) -> list[Task]:
    """Return the tasks, each after `settings.shots` worked examples; DataError where there are too few."""
    if not settings.shots:
        return list(tasks)
    asked = {prompt_key(task.prompt) for task in tasks}
    read, _ = tasks_from_rows(_rows(benchmark, settings), columns, source=_name(benchmark, settings), strict=False)
    usable = [task for task in read if isinstance(task.prompt, str) and prompt_key(task.prompt) not in asked]
    if len(usable) < settings.shots:
        raise DataError(
            f"{_name(benchmark, settings)}: {len(usable)} rows can be worked examples, --shots asks for "
            f"{settings.shots}"
        )
    before = [message for task in usable[: settings.shots] for message in _turns(task)]
    return [replace(task, prompt=[*before, *_messages(task)]) for task in tasks]


def _turns(task: Task) -> list[Message]:
    return [*_messages(task), {"role": "assistant", "content": worked(task)}]


def _messages(task: Task) -> list[Message]:
    return [{"role": "user", "content": task.prompt}] if isinstance(task.prompt, str) else list(task.prompt)


def worked(task: Task) -> str:
    """Return the row's solution with its answer in a box at the end, or the box alone where it has none."""
    answer, solution = task.columns.get("answer"), task.columns.get("solution")
    text = solution.partition(GSM8K_MARK)[0].strip() if isinstance(solution, str) else ""
    box = f"\\boxed{{{answer}}}"
    return text if "\\boxed" in text else f"{text}\n{box}".strip()


def _name(benchmark: Benchmark, settings: Settings) -> str:
    if settings.shots_data is not None:
        return settings.shots_data
    source = benchmark.source
    if source is None or source.shots is None:
        raise DataError(f"{benchmark.name} has no worked examples of its own: name a file of some with --shots-data")
    return f"{source.hub} {source.shots}@{source.revision}"


def _rows(benchmark: Benchmark, settings: Settings) -> Iterator[Row]:
    if settings.shots_data is not None:
        if not settings.shots_data.endswith(JSON_SUFFIXES):
            return hub_rows(settings.shots_data, configs=(None,), split="train", revision=None)
        return file_rows(settings.shots_data)
    _name(benchmark, settings)
    source = benchmark.source
    assert source is not None and source.shots is not None
    return hub_rows(source.hub, configs=source.configs, split=source.shots, revision=source.revision)
