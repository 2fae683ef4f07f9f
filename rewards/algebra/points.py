"""Exact numbers while they are rational and short, complex floats else; a value is computed at all points at once."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

Number: TypeAlias = Fraction | complex
Values: TypeAlias = tuple[Number, ...]  # one a point

POINTS = 4  # the last one has negative values; it counts where there are bars: |x| is not x
MAX_BITS = 4000  # of an exact number; beyond, it is a float


class Unsupported(Exception):
    """No plain expression, or no value that can be told."""


def magnitude(number: Number) -> float:
    """The absolute value; OverflowError where no float holds it."""
    return float(abs(number)) if isinstance(number, Fraction) else abs(number)


def exact(*numbers: Number) -> bool:
    return all(isinstance(number, Fraction) for number in numbers)


def difference(one: Number, other: Number) -> Number:
    return one - other if exact(one, other) else complex(one) - complex(other)


def constant(value: Number) -> Values:
    return (value,) * POINTS


def each(function: Callable[[Number, Number], Number], left: Values, right: Values) -> Values:
    return tuple(function(one, other) for one, other in zip(left, right, strict=True))


def each_of_one(function: Callable[[Number], Number], values: Values) -> Values:
    return tuple(function(value) for value in values)


def _short(value: Number) -> Number:
    if isinstance(value, Fraction) and value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        return complex(value)
    return value


def add(one: Number, other: Number) -> Number:
    return _short(one + other if exact(one, other) else complex(one) + complex(other))


def multiply(one: Number, other: Number) -> Number:
    return _short(one * other if exact(one, other) else complex(one) * complex(other))


def divide(one: Number, other: Number) -> Number:
    return _short(one / other if exact(one, other) else complex(one) / complex(other))


def power_of(base: Number, exponent: Number) -> Number:
    """Principal value; roots of exact squares, cubes ... stay exact."""
    if isinstance(exponent, Fraction) and isinstance(base, Fraction):
        bits = base.numerator.bit_length() + base.denominator.bit_length()
        if exponent.denominator == 1 and abs(exponent) * bits <= MAX_BITS:
            return base**exponent.numerator
        if exponent.numerator == 1 and base >= 0:
            root = _exact_root(base, exponent.denominator)
            if root is not None:
                return root
    return complex(base) ** complex(exponent)


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    above, below = (round(part ** (1 / degree)) for part in (value.numerator, value.denominator))
    return (
        Fraction(above, below)
        if below and above**degree == value.numerator and below**degree == value.denominator
        else None
    )


def factorial(value: Number) -> Number:
    if isinstance(value, Fraction) and value.denominator == 1 and 0 <= value <= 300:
        return Fraction(math.factorial(value.numerator))
    number = complex(value)
    if number.imag or not 0 <= number.real <= 100:
        raise Unsupported
    return complex(math.gamma(number.real + 1))


def binomial(above: Number, below: Number) -> Number:
    return divide(factorial(above), multiply(factorial(below), factorial(add(above, multiply(Fraction(-1), below)))))
