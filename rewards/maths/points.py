"""Exact numbers while they are rational and short, complex floats else; a value is computed at all points at once."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

Number: TypeAlias = int | Fraction | complex  # an integer is an int: its arithmetic is many times faster
Values: TypeAlias = tuple[Number, ...]  # one a point

POINTS = 4  # the first two are positive; signs of the others tell |x| from x
_SMALL = 1 << 64
MAX_BITS = 4000  # of an exact fraction; beyond, it is a float
MAX_WHOLE_BITS = 40_000  # of an integer, which costs far less


UNDEFINED = complex(math.nan, math.nan)


class Unsupported(Exception):
    """No plain expression, or no value that can be told."""


def magnitude(number: Number) -> float:
    """The absolute value; OverflowError where no float holds it."""
    return abs(complex(number)) if isinstance(number, complex) else float(abs(Fraction(number)))


def exact(*numbers: Number) -> bool:
    return all(not isinstance(number, complex) for number in numbers)


def difference(one: Number, other: Number) -> Number:
    return one - other if exact(one, other) else complex(one) - complex(other)


def constant(value: Number) -> Values:
    if isinstance(value, Fraction) and value.denominator == 1:
        value = value.numerator
    return (value,) * POINTS


def each(function: Callable[[Number, Number], Number], left: Values, right: Values) -> Values:
    return tuple(map(function, left, right))


def each_of_one(function: Callable[[Number], Number], values: Values) -> Values:
    return tuple(map(function, values))


def _short(value: Number) -> Number:
    if type(value) is int and -_SMALL < value < _SMALL:
        return value
    if isinstance(value, complex):
        return value
    whole = value.denominator == 1
    if value.numerator.bit_length() + value.denominator.bit_length() > (MAX_WHOLE_BITS if whole else MAX_BITS):
        return complex(value)
    return value.numerator if whole else value


def add(one: Number, other: Number) -> Number:
    return _short(one + other)


def multiply(one: Number, other: Number) -> Number:
    return _short(one * other)


def divide(one: Number, other: Number) -> Number:
    if isinstance(one, complex) or isinstance(other, complex):
        return complex(one) / complex(other)
    return _short(Fraction(one) / other)


def power_of(base: Number, exponent: Number) -> Number:
    """Principal value; roots of exact squares, cubes ... stay exact."""
    if not isinstance(exponent, complex) and not isinstance(base, complex):
        bits = base.numerator.bit_length() + base.denominator.bit_length()
        limit = MAX_WHOLE_BITS if base.denominator == 1 and exponent > 0 else MAX_BITS
        if exponent.denominator == 1 and abs(exponent.numerator) * bits <= limit:
            return _short(Fraction(base) ** exponent.numerator)
        if exponent.numerator == 1 and base >= 0:
            root = _exact_root(base, exponent.denominator)
            if root is not None:
                return root
    return complex(base) ** complex(exponent)


def _exact_root(value: int | Fraction, degree: int) -> int | Fraction | None:
    above, below = (round(part ** (1 / degree)) for part in (value.numerator, value.denominator))
    if not below or above**degree != value.numerator or below**degree != value.denominator:
        return None
    return above if below == 1 else Fraction(above, below)


def factorial(value: Number) -> Number:
    if not isinstance(value, complex) and value.denominator == 1 and 0 <= value <= 300:
        return math.factorial(value.numerator)
    number = complex(value)
    if number.imag == 0 and number.real < 0:
        return UNDEFINED
    if number.imag or not number.real <= 100:
        raise Unsupported
    return complex(math.gamma(number.real + 1))


def binomial(above: Number, below: Number) -> Number:
    return divide(factorial(above), multiply(factorial(below), factorial(add(above, multiply(-1, below)))))
