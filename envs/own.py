"""Tasks from a user's `data=module:function`: an Env, rows, a generator of rows, or splits of rows by name."""

import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from envs.adapters.verifiers import is_verifiers, of_verifiers
from envs.base import DataError, Env, Task, no_option
from envs.data import Reading, bounded, numbered, records
from envs.rows import Columns
from rewards.imports import one_line, raised_at, user_object

TEST_SPLITS = ("test", "validation", "valid", "dev", "eval")
ROW_OPTIONS = {  # options of rows; an Env has its own
    "prompt_column": None, "answer_column": None, "language": None, "suffix": "", "strict": False,
    "test_size": None, "limit": None, "max_rows": None,
}  # fmt: skip


def from_function(
    data: str,
    *,
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
    **options: Any,
) -> Env:
    """An Env over what a user's function returns, or over the list or Env that the name stands for.

    Other options are the function's own arguments; it gets `seed` too if it names it. Of rows without a length at
    most `max_rows` are taken, 100,000 if that is not given. Raises DataError, one line, for whatever goes wrong in it.
    """
    given = {"prompt_column": prompt_column, "answer_column": answer_column, "language": language, "suffix": suffix,
             "strict": strict, "test_size": test_size, "limit": limit, "max_rows": max_rows}  # fmt: skip
    found = _called(data, {"seed": seed} | options)
    if is_verifiers(found):
        found = of_verifiers(found, name=data, limit=limit, test_size=test_size, seed=seed)
        given |= {"limit": None, "test_size": None}  # used
    if isinstance(found, Env) or callable(getattr(found, "tasks", None)):
        unused = [name for name, value in given.items() if value != ROW_OPTIONS[name]]
        if unused:
            raise DataError(f"{data} gives an Env of its own, for which {unused[0]} has no meaning")
        return _completed(found, data)
    columns = Columns(prompt_column, answer_column, answer_required, language, suffix)
    how = Reading(columns, strict=strict, test_size=test_size, seed=seed, limit=limit, in_order=in_order)
    rows, test_rows = _splits(found, data)
    taken, notes = bounded(_watched(rows, data), data, max_rows)
    if test_rows is None:
        return how.env(data, numbered(taken, data), notes=notes)
    test, more = bounded(_watched(test_rows, data), f"{data}, test", max_rows)
    return how.env(data, numbered(taken, data), numbered(test, f"{data}, test"), notes=[*notes, *more])


def _called(data: str, options: Mapping[str, Any]) -> Any:
    """Return the object of the name, called with these options if it is a function or a class."""
    try:
        found = user_object(data, "data")
    except ValueError as error:
        raise DataError(str(error)) from error
    if not callable(found):
        if unknown := [name for name in options if name != "seed"]:
            raise DataError(f"{data} is no function: it has no option {unknown[0]!r}")
        return found
    parameters = inspect.signature(found).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    arguments = {name: value for name, value in options.items() if name in parameters or takes_all}
    for name in options:
        if name not in arguments and name != "seed":
            raise no_option(data, name, [*parameters, *ROW_OPTIONS])
    for name, one in parameters.items():
        by_name = one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        if by_name and one.default is one.empty and name not in arguments:
            raise DataError(f"{data} needs its argument {name!r}: give data_options.{name}=...")
    try:
        return found(**arguments)
    except DataError:
        raise
    except Exception as error:  # the user's function may fail in any way
        raise DataError(f"{data} raised {one_line(error)}{raised_at(error)}") from error


def _splits(found: Any, data: str) -> tuple[Iterable[Any], Iterable[Any] | None]:
    """The training rows, and the test rows where there are such."""
    found = records(found)
    if isinstance(found, Mapping):
        if "train" not in found:
            raise DataError(
                f"{data} gives a mapping without 'train' (its keys: {', '.join(map(str, found))}): give rows"
            )
        return found["train"], next((found[name] for name in TEST_SPLITS if name in found), None)
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        raise DataError(
            f"{data} must give rows, a generator of rows or an Env, got {type(found).__name__} {found!r:.60}"
        )
    return found, None


def _watched(rows: Iterable[Any], data: str) -> Iterable[Any]:
    """The rows; what their generator raises becomes a DataError."""
    return rows if hasattr(rows, "__len__") else _guarded(rows, data)


def _guarded(rows: Iterable[Any], data: str) -> Iterator[Any]:
    try:
        yield from rows
    except Exception as error:  # the user's generator may fail in any way
        raise DataError(f"{data} raised {one_line(error)}{raised_at(error)}") from error


def _completed(env: Any, data: str) -> Env:
    """A user's Env, or the Env that something with a method `tasks` (and perhaps `converse`) makes."""
    if isinstance(env, Env) and hasattr(env, "splits"):
        return env
    splits = {}
    for split in ("train", "test"):
        try:
            splits[split] = list(env.tasks(split))
        except Exception as error:  # the user's method may fail in any way; without a test split nothing is held out
            if split == "train":
                raise DataError(f"{data}: tasks('train') raised {one_line(error)}{raised_at(error)}") from error
    for task in itertools.chain(*splits.values()):
        if not isinstance(task, Task):
            raise DataError(f"{data}: tasks must give envs.Task, got {type(task).__name__} {task!r:.60}")
    made = Env(data, splits, reward_names=getattr(env, "reward_names", ("accuracy",)))
    if hasattr(env, "converse"):
        made.converse = env.converse  # type: ignore[method-assign]
    return made
