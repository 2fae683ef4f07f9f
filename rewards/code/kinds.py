"""What tests ask of the class or identity of an object that may be the program's (see `rewards.code.reading`)."""

import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from rewards.code.exceptions import Named, Stopped
from rewards.code.reading import CALLS, SAME, STOPPED
from rewards.code.remote import Remote, Wire, remote_of

# Modules whose objects are plain values, which are sent: an object of the program is none of these, whatever it says.
OF_VALUES = ("builtins", "decimal", "fractions", "datetime", "numbers")
# but for these classes, which it is asked about
NO_VALUES = (type, property, classmethod, staticmethod, map, filter, zip, enumerate, reversed, memoryview)


def functions_of(wire: Wire) -> dict[str, Any]:
    """The functions that a test's calls were replaced by, by name."""

    def remote(one: Any) -> Any:
        """The program's object, where a test means one; anything else as it is."""
        if isinstance(one, Named) and "of_program" not in vars(one):
            return Remote(wire, one.__name__)._found()
        found = one._found() if type(one) is Remote else one
        return found if (own := remote_of(found)) is None else own

    def type_of(one: Any) -> Any:
        found = remote(one)
        if type(found) is not Remote:
            kind = _exact(type(found))
            if "of_program" not in vars(kind):
                return kind
            try:  # an exception: its class by the name that the program knows it by
                kind = Remote(wire, kind.__name__)._found()
            except Exception:
                return kind
            kind.__dict__["_kind"] = True
            return kind
        kind = wire.operate("type", found)
        if (known := _local(*wire.operate("name", kind))) is not None:
            return known
        kind.__dict__["_kind"] = True
        return kind

    def is_instance(one: Any, kinds: Any) -> bool:
        if type(one) is not Remote and isinstance(one, kinds):
            return True
        found = remote(one)
        return isinstance(found, kinds) if type(found) is not Remote else _asked(wire, "isinstance", found, kinds)

    def is_subclass(one: Any, kinds: Any) -> bool:
        found = remote(one)
        return issubclass(found, kinds) if type(found) is not Remote else _asked(wire, "issubclass", found, kinds)

    def is_same(one: Any, other: Any) -> bool:
        if one is other:
            return True
        left, right = remote(one), remote(other)
        if type(left) is Remote and type(right) is Remote:
            return bool(left._target == right._target)
        return left is right

    found: Mapping[str, Callable[..., Any]] = {"type": type_of, "isinstance": is_instance, "issubclass": is_subclass}
    return {CALLS[name]: function for name, function in found.items()} | {SAME: is_same, STOPPED: Stopped}


def _exact(kind: type) -> type:
    """The class itself, where it is one made for an exception of the program."""
    if "of_program" not in vars(kind):
        return kind
    return next((base for base in kind.__bases__ if base.__name__ == kind.__name__), kind)


def _asked(wire: Wire, question: str, one: Remote, kinds: Any) -> bool:
    if isinstance(kinds, tuple | types.UnionType):
        parts = kinds if isinstance(kinds, tuple) else kinds.__args__
        return any(_asked(wire, question, one, kind) for kind in parts)
    if isinstance(kinds, Named):
        kinds = Remote(wire, kinds.__name__)
    if type(kinds) is Remote:
        return wire.operate(question, one, kinds) is True
    kinds = getattr(kinds, "__origin__", kinds)  # typing.Iterable
    if not isinstance(kinds, type):
        return isinstance(one, kinds)  # which says what is wrong with it
    name = _name(kinds)
    if name is None:
        return kinds is object
    return wire.operate(f"{question} of", one, *name) is True


def _name(kind: type) -> tuple[str, str] | None:
    """Module and name of a class of the library that an object of the program may be of; None for any other."""
    top = kind.__module__.split(".")[0]
    if (top in sys.stdlib_module_names and top not in OF_VALUES) or issubclass(kind, BaseException):
        return kind.__module__, kind.__qualname__
    if kind in NO_VALUES:
        return "builtins", kind.__name__
    return next((("types", name) for name, value in vars(types).items() if value is kind), None)


def _local(module: str, name: str) -> type | None:
    """The class of the library of that name, if an object of the program may be of it."""
    for place in (sys.modules.get(module), types):
        for kind in list(getattr(place, "__dict__", {}).values()):
            if isinstance(kind, type) and (kind.__module__, kind.__qualname__) == (module, name):
                return kind if _name(kind) is not None else None
    return None
