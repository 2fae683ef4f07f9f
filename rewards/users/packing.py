"""A reward function as bytes that another Python process makes the same function of, or the reason why it can't be.

Functions, methods and callable objects of modules go by name, as pickle does it. Functions inside functions go by
value, with the constants they close over. So do functions of the script itself (`__main__`, a notebook), with the
globals that they read: importing the script would run it again.
"""

import builtins
import dis
import functools
import importlib
import io
import marshal
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

SCRIPT = "__main__"
BUILT_IN = frozenset({"rewards", "envs", "grpo", "distill", "benchmarks"})  # packages whose rewards are not users'
CONSTANTS = (
    int,
    float,
    complex,
    str,
    bytes,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    re.Pattern,
)
SCRIPT_GLOBALS: dict[str, Any] = {"__builtins__": builtins, "__name__": "reward_script"}  # of functions sent by value


class CannotBeSent(Exception):
    """Why a function has to stay where it is."""


def pack(function: Callable[..., Any]) -> bytes:
    """The function as bytes; CannotBeSent with the reason."""
    buffer = io.BytesIO()
    try:
        _Packer(buffer).dump(function)
    except CannotBeSent:
        raise
    except Exception as error:  # pickle calls methods of whatever the function refers to
        raise CannotBeSent(" ".join(str(error).split())[:200]) from None
    return buffer.getvalue()


def unpack(packed: bytes) -> Callable[..., Any]:
    """The function of `pack`."""
    function: Callable[..., Any] = pickle.loads(packed)
    return function


def is_built_in(function: Callable[..., Any]) -> bool:
    """Return whether a function is one of this project's own rewards."""
    inner = function.func if isinstance(function, functools.partial) else function
    module = getattr(inner, "__module__", None) or type(inner).__module__
    return module.partition(".")[0] in BUILT_IN


class _Packer(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, types.ModuleType):
            return importlib.import_module, (thing.__name__,)
        if isinstance(thing, types.FunctionType):
            if thing.__name__ == "<lambda>":
                raise CannotBeSent("it is a lambda")
            if thing.__module__ == SCRIPT or "<locals>" in thing.__qualname__:
                return _by_value(thing)
        if isinstance(thing, type) and thing.__module__ == SCRIPT:
            raise CannotBeSent(f"it needs the class {thing.__name__} of the script itself: put it in a module")
        return NotImplemented


def _by_value(function: types.FunctionType) -> tuple[Any, ...]:
    code, module, read = function.__code__, function.__module__, dict[str, Any]()
    if module == SCRIPT:
        read = {name: function.__globals__[name] for name in sorted(_globals_of(code)) if name in function.__globals__}
    elif getattr(sys.modules.get(module), "__dict__", None) is not function.__globals__:
        raise CannotBeSent(f"{function.__name__} is of no module that can be imported")
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    for name, value in zip(code.co_freevars, cells, strict=True):
        if not _is_constant(value):  # what it shares with others here would be another thing there
            raise CannotBeSent(f"{function.__name__} is a closure over {name}, a {type(value).__name__}")
    made = (marshal.dumps(code), function.__name__, function.__kwdefaults__, module, cells)
    # the globals come after the function itself, which may be among them
    return _function, made, {"globals": read, "defaults": function.__defaults__}, None, None, _fill


def _globals_of(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            raise CannotBeSent(f"it changes the script's global {instruction.argval}")
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_of(constant)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, CONSTANTS)


def _function(
    code: bytes, name: str, keyword_defaults: dict[str, Any] | None, module: str, cells: tuple[Any, ...]
) -> types.FunctionType:
    scope = SCRIPT_GLOBALS if module == SCRIPT else importlib.import_module(module).__dict__
    closure = tuple(map(types.CellType, cells))
    function = types.FunctionType(marshal.loads(code), scope, name, None, closure)
    function.__kwdefaults__ = keyword_defaults
    return function


def _fill(function: types.FunctionType, state: dict[str, Any]) -> None:
    SCRIPT_GLOBALS.update(state["globals"])
    function.__defaults__ = state["defaults"]
