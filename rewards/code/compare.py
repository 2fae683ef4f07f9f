"""Whether what a program gave is what was expected. Plain comparisons of exact built-in values, in this process."""

import math
from typing import Any

from rewards.code.plans import Call, Pair

SPARE_CHARACTERS = 1 << 16


def call_holds(call: Call, value: Any) -> bool:
    """Whether a decoded value is what a call expects. Python's own comparison of exact built-in values."""
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


def output_holds(pair: Pair, output: str) -> bool:
    """Whether an output is the expected one: line by line, without trailing white space, numbers by value."""
    if len(output) > SPARE_CHARACTERS + 4 * len(pair.expected):
        return False  # taking it apart would cost this process time
    found, expected = ([line.split() for line in text.rstrip().splitlines()] for text in (output, pair.expected))
    return len(found) == len(expected) and all(
        len(line) == len(other) and all(map(_same_word, line, other))
        for line, other in zip(found, expected, strict=True)
    )


def _same_word(word: str, expected: str) -> bool:
    return word == expected or (
        _is_decimal(word) and _is_decimal(expected) and _canonical(word) == _canonical(expected)
    )


def _is_decimal(word: str) -> bool:
    body = word[1:] if word[:1] in "+-" else word
    whole, _, fraction = body.partition(".")
    return word.isascii() and whole.isdigit() and (fraction.isdigit() or not fraction)


def _canonical(word: str) -> str:
    """A decimal without superfluous zeros and plus: "+01.50" and "1.5" are one."""
    sign = "-" if word.startswith("-") else ""
    whole, _, fraction = word.lstrip("+-").partition(".")
    number = whole.lstrip("0") + ("." + fraction.rstrip("0") if fraction.rstrip("0") else "")
    return sign + number if number else "0"
