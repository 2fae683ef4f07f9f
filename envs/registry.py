"""`make`: from a name, a file or a hub id to an Env, with the options checked against the environment's signature."""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.base import DataError, Env, no_option
from envs.files import JSON_SUFFIXES, TABLE_SUFFIXES
from envs.mixture import mixture

OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REASONING_GYM = "reasoning_gym:"
DATA = "envs.data:from_data"
CODE = "envs.code_problems:code_problems"


@dataclass(frozen=True)
class Entry:
    """A registered environment.

    `package.module:function` that builds it, one line on it, and for a preset over `envs.data` the function that
    completes its options.
    """

    factory: str
    summary: str
    preset: str | None = None


ENVIRONMENTS = {
    "debugging": Entry("envs.games.debugging:debugging", "functions with a fault, tried until their tests pass"),
    "twenty_questions": Entry("envs.games.twenty_questions:twenty_questions", "yes or no questions, then a guess"),
    "gymnasium": Entry("envs.adapters.gymnasium:gymnasium", "gymnasium's, played in words (env_id; extra envs)"),
    "openenv": Entry("envs.adapters.openenv:openenv", "a server's, by reset and step over HTTP (url)"),
    "with_tools": Entry("envs.tools.ready:with_tools", "another's tasks (env) with tools: calculator, python, search"),
    "textarena": Entry("envs.adapters.textarena:textarena", "textarena's games for one player (game; extra envs)"),
    "verifiers": Entry("envs.adapters.verifiers:verifiers", "an installed one of verifiers (env_id; extra verifiers)"),
    "arithmetic": Entry("envs.arithmetic:arithmetic", "generated sums, differences and products: What is 7 + 5?"),
    "code_problems": Entry(CODE, "programming problems from data=FILE or the hub (MBPP, HumanEval, standard input)"),
    "humaneval": Entry(CODE, "164 functions to complete, from the hub or data=FILE", "envs.code_problems:humaneval"),
    "mbpp": Entry(CODE, "functions to write from a sentence, from the hub or data=FILE", "envs.code_problems:mbpp"),
    "countdown": Entry("envs.countdown:countdown", "generated: reach a target from given numbers with + - * /"),
    "digit_sums": Entry("envs.digit_sums:digit_sums", "generated: 3 + 5 + 9 =, the task of the embedded miniature"),
    "stream": Entry("envs.streaming:stream", "rows that memory does not hold, read as they are needed (rows)"),
    "word_problems": Entry(DATA, "word problems from data=FILE (question, answer)", "envs.word_problems:word_problems"),
    "gsm8k": Entry(DATA, "grade-school word problems, from the hub or data=FILE", "envs.word_problems:gsm8k"),
    "math": Entry(DATA, "competition mathematics, from the hub or data=FILE", "envs.word_problems:math"),
}


def available() -> dict[str, str]:
    """Every registered environment with one line on it."""
    summaries = {name: entry.summary for name, entry in ENVIRONMENTS.items()}
    return {
        **summaries,
        f"{REASONING_GYM}TASK": "a procedural task of reasoning-gym, by its name",
        "MODULE:FUNCTION": "your own Python: rows, a generator of rows, or an Env",
    }


def make(
    name: str | Sequence[Mapping[str, Any]],
    /,
    *,
    needs_answer: bool | None = None,
    in_order: bool = False,
    **options: Any,
) -> Env:
    """The environment of that name.

    It is a registered one, `reasoning_gym:TASK`, the user's own `module:function`, a data file, or a hub data set id.
    `needs_answer` says of one that reads rows whether the rewards need a reference answer in each, `in_order` that its
    training tasks are to stand as the rows do. A list of {"env": name, "weight": 1.0, "options": {...}} makes a
    mixture.
    """
    if not isinstance(name, str):
        return mixture(name, needs_answer=needs_answer, **options)
    entry, given = find(name)
    options = {**given, **options}
    takes = inspect.signature(load(entry.factory)).parameters
    if needs_answer is not None and "answer_required" in takes:
        options.setdefault("answer_required", needs_answer)
    if in_order and "in_order" in takes:
        options.setdefault("in_order", True)
    return call(name, entry.factory, load(entry.preset)(options) if entry.preset else options)


def find(name: str) -> tuple[Entry, dict[str, Any]]:
    """Return the builder of the environment of that name, and the options its name already gives."""
    if name in ENVIRONMENTS:
        return ENVIRONMENTS[name], {}
    if name.startswith(REASONING_GYM):
        return Entry("envs.reasoning_gym:procedural", ""), {"task": name.removeprefix(REASONING_GYM)}
    if name.endswith((*JSON_SUFFIXES, *TABLE_SUFFIXES)) or Path(name).is_dir() or HUB_ID.fullmatch(name):
        return Entry(DATA, ""), {"data": name}
    module = re.fullmatch(r"(?:\./)?([\w/]+)\.py(?::(\w+))?|(\w+)", name)
    if module and Path(f"{module[1] or module[3]}.py").is_file():
        path = (module[1] or module[3]).replace("/", ".")
        raise DataError(
            f"{name!r}: write the module and its function, without .py: data={path}:{module[2] or 'FUNCTION'}"
        )
    if OWN.fullmatch(name):
        return Entry("envs.own:from_function", ""), {"data": name}
    if Path(name).is_file():
        endings = ", ".join((*JSON_SUFFIXES, *TABLE_SUFFIXES))
        raise DataError(f"{name}: a data file's name ends in one of {endings}: write it as one of these")
    near = difflib.get_close_matches(name, available(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(available())}, files and hub ids"
    raise DataError(f"no environment is called {name!r}; {hint} (python -m envs list shows them)")


def options_of(name: str, **options: Any) -> dict[str, Any]:
    """Every option of an environment with its value in effect: as given, else the preset's, else the default."""
    entry, given = find(name)
    parameters = inspect.signature(load(entry.factory)).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD}
    settled = {**defaults, **(load(entry.preset)(options) if entry.preset else options)}
    return {option: value for option, value in settled.items() if option not in given}


def load(reference: str) -> Callable[..., Any]:
    """The function that `package.module:function` names."""
    module, _, function = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def call(name: str, reference: str, options: dict[str, Any]) -> Env:
    """The factory's Env, after every option's name and type were checked against its signature."""
    from pydantic import ValidationError, validate_call

    factory = load(reference)
    parameters = inspect.signature(factory).parameters
    takes_more = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for option in options:
        if option not in parameters and not takes_more:
            raise no_option(name, option, parameters)
    try:
        env: Env = validate_call(factory)(**options)
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        raise DataError(f"{name}: option {first['loc'][0]}: {problem}, got {first['input']!r}") from None
    env.name = name
    return env
