"""Programming problems as tasks: MBPP, HumanEval, or standard input and output, recognised row by row.

The prompt asks for one Python block; the columns feed the `code` reward, which keeps the tests out of the program's
reach. What the prompt shows can be hard-coded by any program, so of several assert statements one is shown, for the
name and the form of the arguments, and the others stay hidden.
"""

import ast
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.base import DataError, Env, Task
from envs.files import JSON_SUFFIXES, file_rows, hub_rows
from envs.rows import Columns, Row, tasks_from_rows
from envs.splits import cut, seeded, split_tasks, without_prompts
from rewards.code.plans import BadTests, plan_of
from rewards.code.plans import Row as CodeRow

QUESTION_COLUMNS = ("question", "question_content", "problem", "prompt", "text", "description")
SUFFIX = "\nGive the whole program in one ```python block at the end of your answer."
CODE_COLUMNS = ("tests", "test", "test_imports", "setup", "entry_point", "inputs", "outputs")
HUB = {
    "humaneval": {"data": "openai/openai_humaneval", "split": "test"},
    "mbpp": {"data": "google-research-datasets/mbpp", "config": "sanitized", "test_split": "test"},
}


def code_problems(
    data: str | None = None,
    *,
    config: str | None = None,
    split: str = "train",
    test_split: str | None = None,
    revision: str | None = None,
    test_data: str | None = None,
    shown_tests: int = 1,
    language: str | None = None,
    suffix: str = SUFFIX,
    strict: bool = False,
    test_size: int | float | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Env:
    """An Env over programming problems in a JSONL file or a hub data set.

    The test split is `test_data` or `test_split` if given; else, unless `test_size` says otherwise, the rows whose own
    column `split` is "test" (MBPP has one); else `test_size` prompts are held out. `shown_tests` assert statements
    stand in the prompt, as long as one stays hidden.
    """
    if data is None:
        raise DataError("code_problems: data is required: a JSONL file of programming problems, or a hub data set id")
    if shown_tests < 0:
        raise DataError(f"code_problems: shown_tests must be at least 0, got {shown_tests}")
    how = Columns(prompt="prompt", answer_required=False, language=language, suffix=suffix)

    def tasks_of(rows: Iterable[Row], source: str) -> tuple[list[Task], list[str]]:
        return tasks_from_rows(_read(rows, shown_tests), how, source=source, strict=strict)

    tasks, skipped = tasks_of(_rows(data, config, split, revision), data)
    test: list[Task] = []
    if test_data is not None:
        test, more = tasks_of(_rows(test_data, None, test_split or "test", None), test_data)
        skipped += more
    elif test_split is not None and not _is_file(data):
        test, more = tasks_of(_rows(data, config, test_split, revision), data)
        skipped += more
    elif test_size is None:
        tasks, test = _by_own_split(tasks)
    splits, notes = _splits(tasks, test, data, seed=seed, test_size=test_size, limit=limit)
    return Env(data, splits, reward_names=("code",), skipped=skipped, notes=notes)


def humaneval(options: dict[str, Any]) -> dict[str, Any]:
    """HumanEval (arXiv 2107.03374) from the hub, where it is one test split; `data=FILE` reads a local copy."""
    return _preset("humaneval", options)


def mbpp(options: dict[str, Any]) -> dict[str, Any]:
    """MBPP (arXiv 2108.07732), the sanitized rows, from the hub; `data=FILE` reads a local copy."""
    return _preset("mbpp", options)


def _preset(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The user's options over the preset's; what describes the hub's copy goes when `data` names another."""
    hub = HUB[name]
    return {**(hub if options.get("data", hub["data"]) == hub["data"] else {}), **options}


def _rows(source: str, config: str | None, split: str, revision: str | None) -> Iterator[Row]:
    if source.endswith(JSON_SUFFIXES):
        return file_rows(source)
    return hub_rows(source, configs=[config], split=split, revision=revision)


def _is_file(source: str) -> bool:
    return source.endswith(JSON_SUFFIXES) or Path(source).is_file()


def _by_own_split(tasks: list[Task]) -> tuple[list[Task], list[Task]]:
    """Training and test tasks by the rows' column `split`; all and none if it does not tell them apart."""
    test = [task for task in tasks if task.columns["split"] == "test"]
    train = [task for task in tasks if task.columns["split"] != "test"]
    return (train, test) if train and test else (tasks, [])


def _splits(
    tasks: Sequence[Task],
    test: Sequence[Task],
    source: str,
    *,
    seed: int,
    test_size: int | float | None,
    limit: int | None,
) -> tuple[dict[str, list[Task]], list[str]]:
    """Seeded splits: `test` as it is, or `test_size` held out where there is none."""
    if not test:
        return split_tasks(tasks, seed=seed, test_size=test_size, limit=limit)
    train, notes = without_prompts(tasks, test)
    if not train:
        raise DataError(f"{source}: every prompt is also in the test data: nothing is left to train on")
    return cut({"train": seeded(train, seed, "order"), "test": seeded(test, seed, "test order")}, limit), notes


def _read(rows: Iterable[Row], shown_tests: int) -> Iterator[Row]:
    """Each row as prompt and columns of the reward; what can't be read as the ValueError that says why."""
    for place, row in rows:
        if not isinstance(row, Mapping):
            yield place, row
            continue
        try:
            yield place, problem_of(row, shown_tests)
        except ValueError as reason:  # BadTests is one
            yield place, ValueError(str(reason))


def problem_of(row: Mapping[str, Any], shown_tests: int) -> dict[str, Any]:
    """The prompt and the columns of one row. Raises ValueError for a row no program could be judged by."""
    columns = dict.fromkeys(CODE_COLUMNS) | {"split": row.get("split")}
    if isinstance(row.get("test"), str) and row["test"].strip():
        prompt = _complete_function(row, columns)
    elif row.get("tests") or row.get("test_list"):
        prompt = _write_function(row, columns, shown_tests)
    else:
        prompt = _write_program(row, columns)
    plan = plan_of(CodeRow(**{name: columns[name] for name in CODE_COLUMNS}))
    if plan is None:
        raise BadTests(f"no tests, looked for tests, test_list, test, inputs and outputs; found {', '.join(row)}")
    return {"prompt": prompt, **columns}


def _complete_function(row: Mapping[str, Any], columns: dict[str, Any]) -> str:
    """HumanEval: the prompt is code, and its helpers are what the tests may use."""
    code, entry_point = row.get("prompt"), row.get("entry_point")
    if not isinstance(code, str) or not code.strip():
        raise ValueError(f"no prompt beside test, got {reprlib.repr(code)}")
    if not isinstance(entry_point, str) or not entry_point:
        raise ValueError(f"no entry_point beside test, got {reprlib.repr(entry_point)}")
    columns.update(test=row["test"], entry_point=entry_point)
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):  # a question in words
        return f"{code.strip()}\n\nThe function must be called {entry_point}."
    columns["setup"] = code
    return f"Complete this Python function:\n```python\n{code.rstrip()}\n```"


def _write_function(row: Mapping[str, Any], columns: dict[str, Any], shown_tests: int) -> str:
    """MBPP: a question in words and assert statements."""
    tests = row.get("tests") or row.get("test_list")
    if not isinstance(tests, list) or not all(isinstance(test, str) and test.strip() for test in tests):
        raise ValueError(f"tests must be a list of assert statements, got {reprlib.repr(tests)}")
    imports = row.get("test_imports") or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    setup = row.get("test_setup_code")
    imports += [setup] if isinstance(setup, str) and setup.strip() else []
    entry_point = row.get("entry_point") or _tested_function(row.get("code"), tests)
    columns.update(tests=tests, test_imports=imports or None, setup=row.get("setup"), entry_point=entry_point)
    question = _question(row)
    shown = tests[: min(shown_tests, len(tests) - 1)]
    if shown:
        listed = "\n".join(shown)
        return f"{question}\n\nYour code must pass tests such as:\n```python\n{listed}\n```"
    return question if entry_point is None else f"{question}\n\nThe function must be called {entry_point}."


def _tested_function(code: Any, tests: Sequence[str]) -> str | None:
    """The one function of the reference solution that the tests call; None if there is none, or more."""
    try:
        defined = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
        called = {node.id for test in tests for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, TypeError, RecursionError):
        return None
    found = [name for name in dict.fromkeys(defined) if name in called]
    return found[0] if len(found) == 1 else None


def _write_program(row: Mapping[str, Any], columns: dict[str, Any]) -> str:
    """Standard input and output (or, with the name of a function, arguments and value): APPS, LiveCodeBench."""
    cases: Mapping[str, Any] = row
    if isinstance(row.get("input_output"), str):
        try:
            cases = json.loads(row["input_output"])
        except (ValueError, RecursionError):
            raise ValueError(f"input_output is not JSON: {row['input_output']!r:.80}") from None
        if not isinstance(cases, dict):
            raise ValueError(f"input_output must be an object with inputs and outputs, got {reprlib.repr(cases)}")
    entry_point = row.get("entry_point") or cases.get("fn_name")
    columns.update(inputs=cases.get("inputs"), outputs=cases.get("outputs"), entry_point=entry_point)
    question, starter = _question(row), row.get("starter_code")
    if isinstance(starter, str) and starter.strip():
        question += f"\n\nBegin with:\n```python\n{starter.rstrip()}\n```"
    if entry_point is not None:
        return f"{question}\n\nThe function must be called {entry_point}."
    return f"{question}\n\nRead the input from standard input and print the output."


def _question(row: Mapping[str, Any]) -> str:
    for name in QUESTION_COLUMNS:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    raise ValueError(f"no question, looked for {', '.join(QUESTION_COLUMNS)}; found {', '.join(row) or 'no column'}")
