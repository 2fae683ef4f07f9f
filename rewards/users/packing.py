"""A reward function as bytes that another Python process makes the same function of, or the reason why it can't be.

Functions, methods and callable objects of modules go by name, as pickle does it. Functions of the script itself
(`__main__`, a notebook) go by value, code and the globals that they read: importing the script would run it again.
"""

import builtins
import dis
import functools
import importlib
import io
import marshal
import pickle
import types
from collections.abc import Callable, Iterator
from typing import Any

SCRIPT = "__main__"
BUILT_IN = frozenset({"rewards", "envs", "grpo", "distill", "benchmarks"})  # packages whose rewards are not users'
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
    """Whether a function is one of this project's own rewards."""
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
            if thing.__closure__:
                raise CannotBeSent(f"{thing.__name__} is a closure over {', '.join(thing.__code__.co_freevars)}")
            if "<locals>" in thing.__qualname__:
                raise CannotBeSent(f"{thing.__name__} is defined inside another function")
            if thing.__module__ == SCRIPT:
                return _by_value(thing)
        if isinstance(thing, type) and thing.__module__ == SCRIPT:
            raise CannotBeSent(f"it needs the class {thing.__name__} of the script itself: put it in a module")
        return NotImplemented


def _by_value(function: types.FunctionType) -> tuple[Any, ...]:
    code = function.__code__
    read = {name: function.__globals__[name] for name in sorted(_globals_of(code)) if name in function.__globals__}
    made = (marshal.dumps(code), function.__name__, function.__kwdefaults__)
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


def _function(code: bytes, name: str, keyword_defaults: dict[str, Any] | None) -> types.FunctionType:
    function = types.FunctionType(marshal.loads(code), SCRIPT_GLOBALS, name)
    function.__kwdefaults__ = keyword_defaults
    return function


def _fill(function: types.FunctionType, state: dict[str, Any]) -> None:
    SCRIPT_GLOBALS.update(state["globals"])
    function.__defaults__ = state["defaults"]
