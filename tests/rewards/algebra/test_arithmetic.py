"""Numbers that are exact while they can be, and bounded operations."""

import contextlib
import math
from fractions import Fraction

import pytest

from rewards.algebra.arithmetic import MP, Unsupported, applied, binomial, exact, factorial, power, same, short, whole
from tests.timing import within


@pytest.mark.parametrize(
    ("base", "exponent", "value"),
    [
        (2, 10, 1024),
        (2, 100, 1267650600228229401496703205376),
        (Fraction(2, 3), -2, Fraction(9, 4)),
    ],
)
def test_powers_of_exact_numbers_are_exact(base, exponent, value):
    assert power(base, exponent) == value
    assert exact(power(base, exponent))


def test_what_is_no_rational_has_60_digits():
    # sqrt(2)^2 - 2 is 0 to some 60 digits, and 1e-30 is told from 0
    assert same(power(power(2, Fraction(1, 2)), 2), 2)
    assert not same(MP.mpf(10) ** -30, 0)
    assert not same(MP.pi, Fraction(3141592653589793, 10**15))


def test_large_numbers_are_rounded_or_refused():
    assert not exact(short(Fraction(1, 3**4000)))  # 3^4000 has 6,340 bits
    assert not exact(power(7, 10**9))
    with pytest.raises(Unsupported):
        power(2, power(2, 10**9))
    with pytest.raises(Unsupported):
        power(MP.e, power(2, 1000))


def test_factorials_and_binomials():
    assert factorial(5) == 120
    assert binomial(7, 2) == 21
    assert same(factorial(Fraction(1, 2)), MP.sqrt(MP.pi) / 2)  # Gamma(3/2)
    assert MP.isnan(factorial(-3))


def test_the_floor_of_what_is_nearly_an_integer_is_that_integer():
    assert whole(math.floor)(power(power(3, Fraction(1, 2)), 2)) == 3
    assert whole(math.floor)(MP.pi + 0) == 3
    assert whole(math.ceil)(MP.pi + 0) == 4
    assert whole(math.floor)(Fraction(-1, 2)) == -1


def test_hostile_numbers_cost_no_time():
    with within(0.5):
        number = 9
        for _ in range(3):
            number = power(9, number) if exact(number) else number
            with contextlib.suppress(Unsupported):
                factorial(number)


def test_what_vanishes_is_0():
    assert power(MP.e, -power(2, 1000)) == 0
    assert applied("sin", MP.pi + 0) == 0
    assert not same(power(2, -(10**4)), 0)  # small, but nothing cancelled
