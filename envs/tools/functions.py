"""A plain Python function as a tool: its signature and docstring become the JSON schema that the model is shown."""

import asyncio
import inspect
import json
import re
import threading
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

MOST_CHARACTERS = 100_000  # of a result that are kept
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", dict: "object"}
SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?):\s*$")
ARGUMENT = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


class FunctionTool:
    """A function that the model may call by name.

    Args:
        function: its parameters need a name; annotations and a Google-style `Args:` section make a better schema.
            It may be async, and is called in a thread.
        timeout_seconds: a call that takes longer is answered with an error.
    """

    def __init__(self, function: Callable[..., Any], *, timeout_seconds: float = 10.0) -> None:
        self.function, self.timeout_seconds = function, timeout_seconds
        self.name = str(getattr(function, "__name__", type(function).__name__))
        self.schema = schema_of(function, self.name)

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Return the result as text.

        Raises ToolFault for arguments the function does not take, for what it raises, and for a call that is late.
        """
        outcome: list[Any] = []
        thread = threading.Thread(target=self._run, args=(dict(arguments), outcome), name=self.name, daemon=True)
        thread.start()
        thread.join(self.timeout_seconds)
        if not outcome:
            raise ToolFault(f"{self.name} took longer than {self.timeout_seconds:g} s")
        if isinstance(outcome[0], BaseException):
            raise ToolFault(_one_line(outcome[0])) from outcome[0]
        return _text(outcome[0])

    def _run(self, arguments: dict[str, Any], outcome: list[Any]) -> None:
        try:
            result = _checked(self.function)(**arguments)
            outcome.append(asyncio.run(_wait(result)) if inspect.isawaitable(result) else result)
        except BaseException as error:  # the boundary: a tool may fail in any way
            outcome.append(error)


class ToolFault(Exception):
    """A call that failed; the message is what the model is told."""


def tools_of(functions: Iterable[Any]) -> list[Any]:
    """Return tools as they are and functions as tools."""
    return [one if hasattr(one, "schema") else FunctionTool(one) for one in functions]


def schema_of(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """Return {"type": "function", "function": {"name", "description", "parameters"}} of a function."""
    description, about = _documented(inspect.getdoc(function) or "")
    hints = _hints(function)
    properties, required = {}, []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        entry = _type(hints.get(parameter.name, Any))
        if parameter.name in about:
            entry = {**entry, "description": about[parameter.name]}
        properties[parameter.name] = entry
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # annotations as strings may name what can't be found any more
        return {}


def _type(annotation: Any) -> dict[str, Any]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in PLAIN:
        return {"type": PLAIN[annotation]}
    if origin is Literal:
        return {"type": PLAIN.get(type(inner[0]), "string"), "enum": list(inner)}
    if origin in (Union, types.UnionType):
        kinds = [_type(one) for one in inner if one is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin in (list, tuple, set) or annotation in (list, tuple, set):
        return {"type": "array", "items": _type(inner[0])} if inner else {"type": "array"}
    if origin is dict:
        return {"type": "object"}
    return {}


def _documented(text: str) -> tuple[str, dict[str, str]]:
    """The description of a docstring, and what its `Args:` section says of each argument."""
    description: list[str] = []
    about: dict[str, str] = {}
    section, last = "", ""
    for line in text.splitlines():
        if found := SECTION.match(line.strip()):
            section, last = found[1], ""
        elif not section:
            description.append(line)
        elif section in ("Args", "Arguments", "Parameters"):
            if argument := ARGUMENT.match(line.strip()):
                last = argument[1]
                about[last] = argument[2].strip()
            elif last and line.strip():
                about[last] += f" {line.strip()}"
    return "\n".join(description).strip(), about


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its arguments converted to what it says it takes."""
    from pydantic import ConfigDict, ValidationError, validate_call

    try:
        checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
    except Exception:  # annotations that pydantic can't read: the function sees to it itself
        return function

    def call(**arguments: Any) -> Any:
        try:
            return checked(**arguments)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "arguments"
            raise ToolFault(f"{where}: {first['msg']}") from None

    return call


async def _wait(result: Any) -> Any:
    return await result


def _text(result: Any) -> str:
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " [...]"


def _one_line(error: BaseException) -> str:
    text = str(error) if isinstance(error, ToolFault) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
