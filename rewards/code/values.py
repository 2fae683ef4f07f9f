"""Values between processes as tagged JSON of exact built-in types, so that what arrives has no behaviour of its own.

None, true, false, texts, finite floats, integers up to 2^53 and lists stand for themselves; anything else is an object
with one key: {"int": hex}, {"float": "inf"}, {"tuple" | "set" | "frozenset" | "iterator": [...]}, {"dict": [[k, v]]},
{"bytes" | "bytearray": hex}, {"complex": [re, im]}, {"range": [start, stop, step]}, {"ref": n} (an object that stays
where it is). Used on both sides; imports nothing slow.
"""

import math
import reprlib
from collections.abc import Callable, Iterator
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


class Opaque(TypeError):
    """A value that can't be sent."""


class Malformed(ValueError):
    """JSON that no `encode` wrote."""


def encode(value: Any, refer: Callable[[Any], int] | None = None, depth: int = 0) -> Any:
    """The value as JSON data. Subclasses become their built-in base, iterators are used up.

    `refer` gives a number to what can't be sent; without it that raises Opaque.
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


def _encode_rest(value: Any, refer: Callable[[Any], int] | None, depth: int) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
    if isinstance(value, complex):
        return {"complex": [encode(value.real), encode(value.imag)]}
    if type(value) is range:
        return {"range": [encode(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, _CONSUMED):
        consumed: Any = value
        return {"iterator": [encode(item, refer, depth + 1) for item in consumed]}
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):  # a number, or an array as a list
        return encode(value.tolist(), refer, depth + 1)
    if refer is None:
        raise Opaque(f"a {type(value).__name__} can't be compared")
    return {"ref": refer(value)}


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
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(part, str | int | float) or _is_number(part) for part in parts):
        raise Malformed(f"{kind} holds {type(content).__name__}")


def tagged(data: Any) -> tuple[str, Any]:
    """The key and the content of an object with one key."""
    if type(data) is not dict or len(data) != 1:
        raise Malformed(f"{type(data).__name__} is no value")
    [(kind, content)] = data.items()
    return kind, content


def _is_number(data: Any) -> bool:
    return type(data) is dict and len(data) == 1 and all(type(part) is str for part in data.values())


def decode(data: Any, dereference: Callable[[int], Any] | None = None) -> Any:
    """The value that was encoded. Raises Malformed for what is none."""
    if data is None or isinstance(data, bool | str | int | float):
        return data
    if isinstance(data, list):
        return [decode(item, dereference) for item in data]
    kind, content = tagged(data)
    try:
        if kind in SEQUENCES:
            return SEQUENCES[kind]([decode(item, dereference) for item in content])
        return _decode_rest(kind, content, dereference)
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"{kind}: {error}") from None


def _decode_rest(kind: str, content: Any, dereference: Callable[[int], Any] | None) -> Any:
    if kind == "int":
        return int(content, 16)
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "bytearray":
        return bytearray.fromhex(content)
    if kind == "complex":
        return complex(*[decode(part) for part in content])
    if kind == "range":
        return range(*[decode(part) for part in content])
    if kind == "ref" and dereference is not None and type(content) is int:
        return dereference(content)
    raise Malformed(f"no value is called {kind!r}")
