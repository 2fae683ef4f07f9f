"""Exceptions of the program as its tests see them: of the same names, with the same text and, if plain, arguments."""

import builtins
import functools
from collections.abc import Mapping
from typing import Any

from rewards.code.remote import Unjudgeable
from rewards.code.values import decode


class Stopped(RuntimeError):
    """The program's StopIteration: one itself would end a test's own loop (`all(map(f, ...))`, `for`) as if through."""


class Named(type):
    """A class that stands for an exception class of the program, for tests to catch by."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        if "of_program" not in vars(cls):
            raise Unjudgeable(f"a test makes an exception of the program's class {cls.__name__} itself")
        return super().__call__(*arguments, **keywords)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or name == "of_program":
            raise AttributeError(name)
        raise Unjudgeable(f"a test looks at {name} of the program's class {cls.__name__}")


def named(name: str) -> Named:
    """The class by which tests catch a program's exception class of that name."""
    return Named(name, (Exception,), {"__module__": "answer"})


def raised(error: Mapping[str, Any], names: Mapping[str, Any]) -> BaseException:
    """The program's exception as the tests know it, marked as the program's.

    Of the classes with a name of the tests' own and of the first built-in one.
    """
    types, text = tuple(map(str, error.get("types", []))), str(error.get("text"))
    kinds = [names[name] for name in types if _is_exception(names.get(name))]
    kinds += [kind for name in types if _is_exception(kind := getattr(builtins, name, None))][:1]
    if not kinds:
        kinds = [RuntimeError]
    if any(issubclass(kind, StopIteration | StopAsyncIteration) for kind in kinds):
        kinds = [Stopped]
    sent = tuple(decode(error["args"])) if "args" in error else None
    arguments = (text,) if sent is None else sent
    try:
        made = _made(_combined(tuple(kinds), types), arguments)
    except TypeError:  # of classes that no class can have together, or that want other arguments (ExceptionGroup)
        made = _made(_combined((RuntimeError,), types), arguments)
    vars(made).update(_text=text, _sent=sent)
    attributes = decode(error["attributes"]) if "attributes" in error else {}
    for name, value in attributes.items() if isinstance(attributes, dict) else ():
        vars(made).setdefault(str(name), value)
    return made


def _made(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    try:
        return kind(*arguments)
    except Exception:  # a class of the tests' own setup that wants other arguments than those it passed on
        return kind.__new__(kind, *arguments)


def _is_exception(kind: Any) -> bool:
    """Return whether it is an exception class; of those that are no Exception the two that programs raise."""
    return isinstance(kind, type) and issubclass(kind, Exception | SystemExit | KeyboardInterrupt)


@functools.lru_cache(maxsize=64)
def _combined(kinds: tuple[type[BaseException], ...], types: tuple[str, ...]) -> type[BaseException]:
    """A class that a test catches by the name of any of `kinds`."""
    bases = tuple(kind for kind in kinds if not any(kind is not other and issubclass(other, kind) for other in kinds))

    def missing(self: BaseException, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unjudgeable(f"a test looks at {name} of an exception of the program, of which only the text is sent")

    def arguments(self: BaseException) -> Any:
        sent = vars(self)["_sent"]
        if sent is None:
            raise Unjudgeable("a test looks at args of an exception of the program, which are not plain values")
        return sent

    methods: dict[str, Any] = {"of_program": types, "__getattr__": missing, "args": property(arguments)}
    methods["__str__"] = lambda self: vars(self)["_text"]
    methods["__repr__"] = lambda self: f"{types[0] if types else ''}({', '.join(map(repr, self.args))})"
    return type(types[0] if types else bases[0].__name__, tuple(dict.fromkeys(bases)), methods)
