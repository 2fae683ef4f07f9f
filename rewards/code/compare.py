"""Compare what a program gave with what was expected: exact built-in values, compared in this process."""

import math
import re
from decimal import Decimal
from typing import Any

from rewards.code.plans import Call, Pair

SPARE_CHARACTERS = 1 << 16
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")


def call_holds(call: Call, value: Any) -> bool:
    """Return whether a decoded value is what a call expects. Python's own comparison of exact built-in values."""
    if call.sequences_alike:
        return _alike(value, call.expected)
    if call.kind == "true" or call.kind == "false":
        return bool(value) == (call.kind == "true")
    if call.kind == "is":
        return value is call.expected
    return bool(value == call.expected) == (call.kind == "equal")


def _alike(value: Any, expected: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(map(_alike, value, expected))
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(_alike(value[key], expected[key]) for key in expected)
    if isinstance(value, float) and isinstance(expected, float):
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(value == expected)


def most_characters(pair: Pair) -> int:
    """The length of the longest output that is compared with what is expected."""
    return SPARE_CHARACTERS + 4 * len(pair.expected)


def output_holds(pair: Pair, output: str) -> bool:
    """Return whether an output is the expected one: line by line, without blank lines around it, numbers by value."""
    if len(output) > most_characters(pair):
        return False  # taking it apart would cost this process time
    found, expected = (_lines(text) for text in (output, pair.expected))
    return len(found) == len(expected) and all(
        len(line) == len(other) and all(map(_same_word, line, other))
        for line, other in zip(found, expected, strict=True)
    )


def _lines(text: str) -> list[list[str]]:
    """The words of each line, without the blank lines before the first and after the last."""
    lines = [line.split() for line in text.rstrip().splitlines()]
    start = next((at for at, words in enumerate(lines) if words), 0)
    return lines[start:]


def _same_word(word: str, expected: str) -> bool:
    if word == expected:
        return True
    value, wanted = _number(word), _number(expected)
    return value is not None and wanted is not None and value == wanted


def _number(word: str) -> Decimal | None:
    """The exact value of a decimal such as "+01.50", ".5", "1e3"; None for anything else."""
    return Decimal(word) if word.isascii() and _DECIMAL.fullmatch(word) else None
