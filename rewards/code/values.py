"""Values between processes as tagged JSON of exact built-in types, so that what arrives has no behaviour of its own.

None, true, false, texts, finite floats, integers up to 2^53 and lists stand for themselves; anything else is an object
with one key: {"int": hex}, {"float": "inf"}, {"tuple" | "set" | "frozenset" | "deque" | "iterator": [...]},
{"dict": [[k, v]]}, {"bytes" | "bytearray": hex}, {"complex": [re, im]}, {"range" | "slice": [start, stop, step]},
{"Decimal" | "Fraction" | "date" | "datetime" | "time": text}, {"timedelta": [days, seconds, microseconds]}, {"array":
[dtype, shape, values]} (of numpy), {"ref": n} (an object that stays where it is), {"sub": [value, ref]} (of a subclass
of a built-in class), {"graph": [nodes, value]} with {"node": n} for objects of classes that both sides know (`pack`).
Used on both sides; imports nothing slow.
"""

import collections
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
    "deque": lambda items: collections.deque(items[1:], items[0]),  # the greatest length comes first
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


NUMBERS = re.compile(r"bool|u?int(?:8|16|32|64)|float(?:16|32|64)")


class Opaque(TypeError):
    """A value that can't be sent."""


class Malformed(ValueError):
    """JSON that no `encode` wrote."""


Refer = Callable[[Any], "dict[str, Any] | None"]
BASES = (str, int, float, list, tuple, set, frozenset, dict, collections.deque)


def encode(value: Any, refer: Refer | None = None, depth: int = 0) -> Any:
    """The value as JSON data. Subclasses become their built-in base, iterators are used up.

    `refer` gives the data of what can't be sent, iterators included; without it that raises Opaque. It is also asked
    about objects of subclasses of built-in classes, which it may leave to their base by None.
    """
    if depth > MAX_DEPTH:
        raise Opaque(f"nested more than {MAX_DEPTH} deep")
    if value is None or value is True or value is False:
        return value
    if refer is not None and isinstance(value, BASES) and type(value) not in BASES and not _of_numpy(value):
        own = refer(value)
        if own is not None:
            return {"sub": [encode(base_of(value), refer, depth + 1), own]}
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
    if isinstance(value, collections.deque):
        held = [value.maxlen, *collections.deque.__iter__(value)]
        return {"deque": [encode(item, refer, depth + 1) for item in held]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            items = kind.__iter__(value)  # type: ignore[arg-type]  # not the subclass's own
            return {kind.__name__: [encode(item, refer, depth + 1) for item in items]}
    if isinstance(value, dict):
        return {"dict": [[encode(part, refer, depth + 1) for part in pair] for pair in dict.items(value)]}
    return _encode_rest(value, refer, depth)


def base_of(value: Any) -> Any:
    """The value of the built-in class that an object's class is derived from."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float):
        return int.__index__(value) if isinstance(value, int) else float.__float__(value)
    if isinstance(value, dict):
        return dict(dict.items(value))
    kind: Any = next(kind for kind in BASES if isinstance(value, kind))
    return kind(kind.__iter__(value))  # not the subclass's own


def _encode_rest(value: Any, refer: Refer | None, depth: int) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
    if isinstance(value, complex):
        return {"complex": [encode(value.real), encode(value.imag)]}
    if type(value) in (range, slice):
        parts = (value.start, value.stop, value.step)
        return {type(value).__name__: [encode(part, refer, depth + 1) for part in parts]}
    if isinstance(value, _CONSUMED) and (refer is None or not isinstance(value, Iterator)):
        consumed: Any = value
        return {"iterator": [encode(item, refer, depth + 1) for item in consumed]}
    if (standard := _standard(value)) is not None:
        return standard
    if (array := _array(value)) is not None and refer is not None:
        return array
    if _of_numpy(value) and hasattr(value, "tolist"):  # a number, or an array as a list
        return encode(value.tolist(), refer, depth + 1)
    if refer is None:
        raise Opaque(f"a {type(value).__name__} can't be compared")
    found: Any = refer(value)
    return found


def _standard(value: Any) -> dict[str, Any] | None:
    """A value of a class of the library, such as Decimal; None for any other."""
    kind, module = type(value).__name__, type(value).__module__
    if kind == "timedelta" and module == "datetime":
        return {kind: [value.days, value.seconds, value.microseconds]}
    if kind not in STANDARD or module != STANDARD[kind][0]:
        return None
    text = value.isoformat() if module == "datetime" else str(value)
    return {kind: text} if STANDARD[kind][2].fullmatch(text) else None


def _of_numpy(value: Any) -> bool:
    return type(value).__module__ == "numpy"


def _array(value: Any) -> dict[str, Any] | None:
    """An array of numbers of numpy's; None for anything else, and for an empty one, which equals anything."""
    if not _of_numpy(value) or type(value).__name__ != "ndarray":
        return None
    if not NUMBERS.fullmatch(value.dtype.name) or value.size == 0:
        return None
    return {"array": [value.dtype.name, list(value.shape), encode(value.ravel().tolist())]}


def pack(value: Any, refer: Refer, shared: Mapping[str, type]) -> Any:
    """As `encode`, but objects whose class has the name of one in `shared` are sent whole, with their attributes.

    Each is sent once and named by its number, so that long linked lists are not nested and cycles end.
    """
    numbers: dict[int, int] = {}
    found: list[Any] = []

    def stand_in(one: Any) -> dict[str, Any] | None:
        if type(one).__name__ not in shared or isinstance(one, BASES):
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
    if kind == "slice":
        check(content, depth + 1)
        return
    if kind == "graph":
        _check_graph(content, depth)
        return
    if kind == "sub":
        if not (isinstance(content, list) and len(content) == 2):
            raise Malformed("sub must hold a value and an object")
        check(content[0], depth + 1)
        check(content[1], depth + 1)
        return
    if kind == "array":
        if not (isinstance(content, list) and len(content) == 3 and isinstance(content[1], list)):
            raise Malformed("array must hold dtype, shape and values")
        if not isinstance(content[2], list) or not content[2]:
            raise Malformed("array must hold values")
        content = [content[0], *content[1], *content[2]]
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


Combine = Callable[[Any, Any], Any]


def decode(
    data: Any,
    dereference: Callable[[int], Any] | None = None,
    shared: Mapping[str, type] | None = None,
    combine: Combine = lambda value, found: found,
) -> Any:
    """The value that was encoded; objects of a `graph` are made of the classes in `shared`, without their `__init__`.

    `combine` makes one of the value and the object of a `sub`. Raises Malformed for what is no value.
    """
    return _Reader(dereference, shared or {}, combine).value(data)


class _Reader:
    """Reads one value; `nodes` are the objects of its graph."""

    def __init__(self, dereference: Callable[[int], Any] | None, shared: Mapping[str, type], combine: Combine) -> None:
        self._dereference, self._shared, self._combine = dereference, shared, combine
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
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, ImportError) as error:
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
        if kind in ("range", "slice"):
            start, stop, step = (self.value(part) for part in content)
            return range(start, stop, step) if kind == "range" else slice(start, stop, step)
        if kind == "timedelta":
            return importlib.import_module("datetime").timedelta(*[int(part) for part in content])
        if kind in STANDARD and isinstance(content, str) and STANDARD[kind][2].fullmatch(content):
            found: Any = importlib.import_module(STANDARD[kind][0])
            for name in STANDARD[kind][1].split("."):
                found = getattr(found, name)
            return found(content)
        if kind == "array" and self._dereference is not None and NUMBERS.fullmatch(content[0]):
            numpy: Any = importlib.import_module("numpy")
            return numpy.array(self.value(content[2]), dtype=content[0]).reshape(content[1])
        if kind == "ref" and self._dereference is not None and type(content) is int:
            return self._dereference(content)
        if kind == "sub":
            return self._combine(self.value(content[0]), self.value(content[1]))
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
