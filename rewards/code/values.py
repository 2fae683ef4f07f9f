"""Values between processes as tagged JSON of exact built-in types, so that what arrives has no behaviour of its own.

None, true, false, texts, finite floats, integers up to 2^53 and lists stand for themselves; anything else is an object
with one key: {"int": hex}, {"float": "inf"}, {"tuple" | "set" | "frozenset" | "iterator": [...]}, {"dict": [[k, v]]},
{"bytes" | "bytearray": hex}, {"complex": [re, im]}, {"range": [start, stop, step]}, {"Decimal" | "Fraction" | "date" |
"datetime" | "time": text}, {"timedelta": [days, seconds, microseconds]}, {"ref": n} (an object that stays where it is),
{"graph": [nodes, value]} with {"node": n} for objects of classes that both sides know (`pack`). Used on both sides;
imports nothing slow.
"""

import importlib
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_DEPTH = 100
PLAIN_INTEGERS = 1 << 53
SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "iterator": iter,
    "dict": dict,
}
_CONSUMED: tuple[type, ...] = (Iterator, type({}.keys()), type({}.values()), type({}.items()))


# Values of the library: what makes them of their text, and what that looks like.
STANDARD = {
    "Decimal": (
        "decimal",
        "Decimal",
        re.compile(r"-?(?:[0-9]{1,1000}(?:\.[0-9]{1,1000})?(?:E[+-]?[0-9]{1,6})?|Infinity|NaN)"),
    ),
    "Fraction": ("fractions", "Fraction", re.compile(r"-?[0-9]{1,1000}(?:/[0-9]{1,1000})?")),
    "date": ("datetime", "date.fromisoformat", re.compile(r"[0-9-]{10}")),
    "datetime": ("datetime", "datetime.fromisoformat", re.compile(r"[0-9T:.+-]{19,40}")),
    "time": ("datetime", "time.fromisoformat", re.compile(r"[0-9:.+-]{8,30}")),
}


class Opaque(TypeError):
    """A value that can't be sent."""


class Malformed(ValueError):
    """JSON that no `encode` wrote."""


Refer = Callable[[Any], "dict[str, Any]"]


def encode(value: Any, refer: Refer | None = None, depth: int = 0) -> Any:
    """The value as JSON data. Subclasses become their built-in base, iterators are used up.

    `refer` gives the data of what can't be sent, iterators included; without it that raises Opaque.
    """
    if depth > MAX_DEPTH:
        raise Opaque(f"nested more than {MAX_DEPTH} deep")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        return number if -PLAIN_INTEGERS <= number <= PLAIN_INTEGERS else {"int": hex(number)}
    if isinstance(value, float):
        real = float.__float__(value)
        return real if math.isfinite(real) else {"float": repr(real)}
    if isinstance(value, list):
        return [encode(item, refer, depth + 1) for item in list.__iter__(value)]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            items = kind.__iter__(value)  # type: ignore[arg-type]  # not the subclass's own
            return {kind.__name__: [encode(item, refer, depth + 1) for item in items]}
    if isinstance(value, dict):
        return {"dict": [[encode(part, refer, depth + 1) for part in pair] for pair in dict.items(value)]}
    return _encode_rest(value, refer, depth)


def _encode_rest(value: Any, refer: Refer | None, depth: int) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
    if isinstance(value, complex):
        return {"complex": [encode(value.real), encode(value.imag)]}
    if type(value) is range:
        return {"range": [encode(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, _CONSUMED) and (refer is None or not isinstance(value, Iterator)):
        consumed: Any = value
        return {"iterator": [encode(item, refer, depth + 1) for item in consumed]}
    if (standard := _standard(value)) is not None:
        return standard
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):  # a number, or an array as a list
        return encode(value.tolist(), refer, depth + 1)
    if refer is None:
        raise Opaque(f"a {type(value).__name__} can't be compared")
    return refer(value)


def _standard(value: Any) -> dict[str, Any] | None:
    """A value of a class of the library, such as Decimal; None for any other."""
    kind, module = type(value).__name__, type(value).__module__
    if kind == "timedelta" and module == "datetime":
        return {kind: [value.days, value.seconds, value.microseconds]}
    if kind not in STANDARD or module != STANDARD[kind][0]:
        return None
    text = value.isoformat() if module == "datetime" else str(value)
    return {kind: text} if STANDARD[kind][2].fullmatch(text) else None


def pack(value: Any, refer: Refer, shared: Mapping[str, type]) -> Any:
    """As `encode`, but objects whose class has the name of one in `shared` are sent whole, with their attributes.

    Each is sent once and named by its number, so that long linked lists are not nested and cycles end.
    """
    numbers: dict[int, int] = {}
    found: list[Any] = []

    def stand_in(one: Any) -> dict[str, Any]:
        if type(one).__name__ not in shared:
            return refer(one)
        if id(one) not in numbers:
            numbers[id(one)] = len(found)
            found.append(one)
        return {"node": numbers[id(one)]}

    data = encode(value, stand_in)
    nodes = []
    for one in found:  # which grows meanwhile
        nodes.append([type(one).__name__, [[name, encode(part, stand_in)] for name, part in _attributes(one)]])
    return {"graph": [nodes, data]} if nodes else data


def _attributes(one: Any) -> list[tuple[str, Any]]:
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(one, name)]
    return [*getattr(one, "__dict__", {}).items(), *((name, getattr(one, name)) for name in slots)]


def check(data: Any, depth: int = 0) -> None:
    """Raise Malformed unless `encode` could have written the data. Builds and hashes nothing."""
    if depth > 2 * MAX_DEPTH:
        raise Malformed(f"nested more than {2 * MAX_DEPTH} deep")
    if data is None or isinstance(data, bool | str | int | float):
        return
    if isinstance(data, list):
        for item in data:
            check(item, depth + 1)
        return
    kind, content = tagged(data)
    if kind in SEQUENCES:
        if not isinstance(content, list):
            raise Malformed(f"{kind} must hold a list")
        for item in content:
            if kind == "dict" and not (isinstance(item, list) and len(item) == 2):
                raise Malformed(f"dict must hold pairs, got {reprlib.repr(item)}")
            check(item, depth + 1)
        return
    if kind == "graph":
        _check_graph(content, depth)
        return
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(part, str | int | float) or _is_number(part) for part in parts):
        raise Malformed(f"{kind} holds {type(content).__name__}")


def _check_graph(content: Any, depth: int) -> None:
    if not (isinstance(content, list) and len(content) == 2 and isinstance(content[0], list)):
        raise Malformed("graph must hold its nodes and a value")
    for node in content[0]:
        if not (isinstance(node, list) and len(node) == 2 and type(node[0]) is str and isinstance(node[1], list)):
            raise Malformed(f"a node must be a class and attributes, got {reprlib.repr(node)}")
        for pair in node[1]:
            if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is str and pair[0].isidentifier()):
                raise Malformed(f"an attribute must be a name and a value, got {reprlib.repr(pair)}")
            if pair[0].startswith("__"):
                raise Malformed(f"no attribute may be called {pair[0]}")
            check(pair[1], depth + 1)
    check(content[1], depth + 1)


def tagged(data: Any) -> tuple[str, Any]:
    """The key and the content of an object with one key."""
    if type(data) is not dict or len(data) != 1:
        raise Malformed(f"{type(data).__name__} is no value")
    [(kind, content)] = data.items()
    return kind, content


def _is_number(data: Any) -> bool:
    return type(data) is dict and len(data) == 1 and all(type(part) is str for part in data.values())


def decode(data: Any, dereference: Callable[[int], Any] | None = None, shared: Mapping[str, type] | None = None) -> Any:
    """The value that was encoded; objects of a `graph` are made of the classes in `shared`, without their `__init__`.

    Raises Malformed for what is no value.
    """
    return _Reader(dereference, shared or {}).value(data)


class _Reader:
    """Reads one value; `nodes` are the objects of its graph."""

    def __init__(self, dereference: Callable[[int], Any] | None, shared: Mapping[str, type]) -> None:
        self._dereference, self._shared = dereference, shared
        self._nodes: list[Any] = []

    def value(self, data: Any) -> Any:
        if data is None or isinstance(data, bool | str | int | float):
            return data
        if isinstance(data, list):
            return [self.value(item) for item in data]
        kind, content = tagged(data)
        try:
            if kind in SEQUENCES:
                return SEQUENCES[kind]([self.value(item) for item in content])
            return self._rest(kind, content)
        except (TypeError, ValueError, OverflowError, IndexError, KeyError, AttributeError) as error:
            raise Malformed(f"{kind}: {error}") from None

    def _rest(self, kind: str, content: Any) -> Any:
        if kind == "int":
            return int(content, 16)
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
        if kind == "bytes":
            return bytes.fromhex(content)
        if kind == "bytearray":
            return bytearray.fromhex(content)
        if kind == "complex":
            return complex(*[self.value(part) for part in content])
        if kind == "range":
            return range(*[self.value(part) for part in content])
        if kind == "timedelta":
            return importlib.import_module("datetime").timedelta(*[int(part) for part in content])
        if kind in STANDARD and isinstance(content, str) and STANDARD[kind][2].fullmatch(content):
            found: Any = importlib.import_module(STANDARD[kind][0])
            for name in STANDARD[kind][1].split("."):
                found = getattr(found, name)
            return found(content)
        if kind == "ref" and self._dereference is not None and type(content) is int:
            return self._dereference(content)
        if kind == "graph" and not self._nodes:
            return self._graph(*content)
        if kind == "node" and type(content) is int and content >= 0:
            return self._nodes[content]
        raise Malformed(f"no value is called {kind!r}")

    def _graph(self, nodes: Any, data: Any) -> Any:
        self._nodes = [object.__new__(self._shared[name]) for name, _ in nodes]
        for made, (_, attributes) in zip(self._nodes, nodes, strict=True):
            for name, part in attributes:
                if callable(getattr(type(made), name, None)):
                    raise ValueError(f"{name} is a method of {type(made).__name__}")  # which it would take the place of
                object.__setattr__(made, name, self.value(part))
        return self.value(data)
