"""Numbers read as exact rationals."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.maths.exact import Exact, same_number
from rewards.maths.grammar import read
from rewards.maths.quantities import plain_number
from tests.timing import within


def read_number(text: str) -> Exact | None:
    """The number that a text is, read like an answer."""
    reading = read(text)
    return None if reading is None else plain_number(reading.tree)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("+7", 7),
        ("-3.50", Fraction(-7, 2)),
        (".5", Fraction(1, 2)),
        ("3.", 3),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("0,111", Fraction(111, 1000)),  # a decimal comma after 0
        ("1000,99", Fraction(100099, 100)),  # and after four digits
        ("1/3", Fraction(1, 3)),
        ("(1)/(2)", Fraction(1, 2)),
        ("2/(-3)", Fraction(-2, 3)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        (r"12\frac{3}{5}", Fraction(63, 5)),
        ("6 1/64", Fraction(385, 64)),
        (r"0.\overline{3}", Fraction(1, 3)),
        (r"0.1\overline{6}", Fraction(1, 6)),  # 1/10 + 6/90
        (r"11,\! 111,\! 100", 11111100),
        ("58 500", 58500),
        ("5 million", 5000000),
        (r"1.5\times 10^{3}", 1500),
        ("2e3", 2000),
        ("10^{-2}", Fraction(1, 100)),
        ("10^3", 1000),
    ],
)
def test_a_number_is_read_exactly(text, value):
    found = read_number(text)
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1/0",
        r"\frac{1}{0}",
        "1+1",
        "1,2",
        "3-",
        "--3",
        "٣",
        "³",
        "1e1000000000",
        "9^{9999}",
        "9" * 2000,
        "0^{-1}",
        "1.2.3",
    ],
)
def test_what_is_no_number_or_too_large_is_none(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("gold", "answer", "strict", "lenient"),
    [
        ("0.5", "1/2", True, True),
        ("2.23", "2.232", False, False),  # decimals of another precision differ
        (r"2.31\times 10^{-3}", "1/432", True, True),  # 0.0023148 rounds to the gold
        ("0.458", "27/59", True, True),  # 27/59 = 0.45763 rounds to the gold
        ("0.5", "4/9", False, False),  # one significant digit is not enough
        ("1/3", "0.333", False, True),  # the gold is exact: an approximation is not strict
        ("1/12", "0.0833333333333333", True, True),  # a float in print
        ("45", "44.9999999999", True, True),  # float noise, 2e-12 relative
        ("45", "45.000001", False, False),
        ("5", "5.1", False, False),
        ("1/4", "0.26", False, False),
    ],
)
def test_rounding_follows_the_convention(gold, answer, strict, lenient):
    numbers = read_number(gold), read_number(answer)
    assert numbers[0] is not None
    assert numbers[1] is not None
    assert same_number(*numbers) is strict
    assert same_number(*numbers, lenient=True) is lenient


@given(st.fractions(max_denominator=10**6))
def test_every_fraction_is_read_back(value):
    found = read_number(f"{value.numerator}/{value.denominator}")
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize("text", ["1" * 131072, "1," * 65536, "-" * 131072, "1/" * 65536, "{" * 131072])
def test_hostile_numbers_take_no_time(text):
    with within(0.2):
        read_number(text)
