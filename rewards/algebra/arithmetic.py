"""Numbers that are exact while they are rational and short, and have 60 digits else.

Every operation has a bounded cost: what would be too large is rounded or refused (`Unsupported`), so that no answer
of a model can hold up the process that judges it.
"""

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath

Number: TypeAlias = Any  # int, Fraction, or an mpf or mpc of MP: mpmath has no types

MP = mpmath.MPContext()  # its own: others may change the digits of mpmath.mp
MP.dps = 60
PI, E, IMAGINARY = +MP.pi, +MP.e, MP.mpc(0, 1)
SAME = MP.mpf("1e-25")  # relative difference of values that count as equal
NOISE = 165  # bits, some 50 digits: what is smaller by them than what it was made of is 0
_EXACT = frozenset({int, Fraction})
_SMALL = 1 << 64
MAX_BITS = 4000  # of an exact fraction; beyond, it is rounded
MAX_WHOLE_BITS = 40_000  # of an integer, which costs far less
MAX_MAGNITUDE = 300  # bits before the point of what a function or an exponent takes


class Unsupported(Exception):
    """No plain expression, or no value that can be told."""


def exact(one: Number, other: Number = 0) -> bool:
    return type(one) in _EXACT and type(other) in _EXACT


def is_real(value: Number) -> bool:
    """Return whether a value is finite and has no imaginary part."""
    return exact(value) or bool(MP.isfinite(value) and abs(value.imag) <= SAME * abs(value))


def same(one: Number, other: Number, tolerance: Number = SAME) -> bool:
    """Return whether two values are equal: exactly where both are exact."""
    if exact(one, other):
        return bool(one == other)
    one, other = MP.convert(one), MP.convert(other)
    size = max(abs(one), abs(other))
    return bool(abs(one - other) <= tolerance * size)


def short(value: Number) -> Number:
    """An exact number as an integer where it is one, and rounded where it is too long."""
    if type(value) is int and -_SMALL < value < _SMALL:
        return value
    whole = value.denominator == 1
    if value.numerator.bit_length() + value.denominator.bit_length() > (MAX_WHOLE_BITS if whole else MAX_BITS):
        return MP.convert(value)
    return value.numerator if whole else value


def _operation(apply: Callable[[Number, Number], Number]) -> Callable[[Number, Number], Number]:
    def operation(one: Number, other: Number) -> Number:
        if exact(one, other):
            return short(apply(one, other))
        one, other = MP.convert(one), MP.convert(other)
        found = apply(one, other)
        cancelled = apply is not operator.mul and MP.mag(found) < max(MP.mag(one), MP.mag(other)) - NOISE
        return 0 if cancelled else found

    return operation


add, subtract, multiply = (_operation(apply) for apply in (operator.add, operator.sub, operator.mul))


def divide(one: Number, other: Number) -> Number:
    return short(Fraction(one) / other) if exact(one, other) else MP.convert(one) / MP.convert(other)


def applied(name: str, value: Number) -> Number:
    """The value of one of mpmath's functions of one argument."""
    if MP.mag(value) > MAX_MAGNITUDE:
        raise Unsupported
    found = getattr(MP, name)(value)
    return 0 if MP.mag(found) < min(0, MP.mag(value)) - NOISE else found  # sin(pi) is 0


def power(base: Number, exponent: Number) -> Number:
    """Principal value; whole powers of exact numbers are exact while they are short."""
    if exact(base, exponent):
        bits = base.numerator.bit_length() + base.denominator.bit_length()
        limit = MAX_WHOLE_BITS if base.denominator == 1 and exponent > 0 else MAX_BITS
        if exponent.denominator == 1 and abs(exponent.numerator) * bits <= limit:
            return short(Fraction(base) ** exponent.numerator)
    if MP.mag(exponent) > MAX_MAGNITUDE:
        if is_real(base) and is_real(exponent) and base.real > 1 and exponent.real < 0:  # e^(-10^100)
            return 0
        raise Unsupported
    return MP.power(base, exponent)


def root(value: Number, degree: Number) -> Number:
    return power(value, divide(1, degree))


def whole(toward: Callable[[Number], int]) -> Callable[[Number], Number]:
    """`math.floor` or `math.ceil` of any value; what is 25 digits from an integer is that integer."""

    def apply(value: Number) -> Number:
        if exact(value):
            return toward(value)
        if not is_real(value) or MP.mag(value) > MAX_MAGNITUDE:
            raise Unsupported
        nearest = int(MP.nint(value.real))
        return nearest if same(nearest, value) else int(MP.floor(value.real)) + (toward is math.ceil)

    return apply


def remainder(value: Number, modulus: Number) -> Number:
    if not exact(value, modulus) or modulus <= 0:
        raise Unsupported
    return value % modulus


def factorial(value: Number) -> Number:
    if isinstance(value, int) and 0 <= value <= 300:
        return math.factorial(value)
    if not is_real(value):
        raise Unsupported
    return applied("factorial", value) if MP.convert(value).real >= 0 else MP.nan


def binomial(above: Number, below: Number) -> Number:
    return divide(factorial(above), multiply(factorial(below), factorial(subtract(above, below))))


def extreme(name: str, *values: Number) -> Number:
    """`max`, `min`, `gcd` or `lcm` of exact values; the last two of integers."""
    if not all(type(value) is int or (name in ("max", "min") and exact(value)) for value in values):
        raise Unsupported
    functions: dict[str, Callable[..., Number]] = {"max": max, "min": min, "gcd": math.gcd, "lcm": math.lcm}
    return functions[name](*values)
