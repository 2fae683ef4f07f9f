"""Arithmetic on text a model wrote."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.expressions import ExpressionError, evaluate
from tests.timing import within


@pytest.mark.parametrize(
    ("text", "value", "numbers"),
    [
        ("2 + 3 * 4", 14, [2, 3, 4]),
        ("(2 + 3) * 4", 20, [2, 3, 4]),
        ("8 - 3 - 2", 3, [8, 3, 2]),  # from the left
        ("8 / 4 / 2", 1, [8, 4, 2]),
        ("1 / 3 * 3", 1, [1, 3, 3]),  # exact: 0.333... * 3 would not be
        ("((7))", 7, [7]),
        ("007", 7, [7]),
        ("2*(3+(4-1))/6", 2, [2, 3, 4, 1, 6]),
    ],
)
def test_the_exact_value_and_the_numbers_used(text, value, numbers):
    assert evaluate(text) == (Fraction(value), numbers)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "+", "1 +", "+ 1", "-1", "1 2", "1 2 +", "(1", "1)", "()", "1 + ()", ")1(", "2(3)", "(1)(2)"),
        *("1 ** 2", "1 // 2", "2 ^ 3", "1.5", "1e9", "1_000", "0x10", "a", "1 = 1", "1,000", "٣", "３", "²"),
        *("1 / 0", "1 / (2 - 2)", "__import__('os')", "1\n+ 1", "9" * 10, "1+" * 100 + "1"),
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ExpressionError):
        evaluate(text)


@given(st.text(alphabet="0123456789+-*/() ", max_size=40))
def test_any_text_of_its_alphabet_is_read_as_python_reads_it_or_refused(text):
    try:
        value, _ = evaluate(text)
    except ExpressionError:
        return
    import re

    exact = re.sub(r"\d+", lambda match: f"Fraction({int(match[0])})", text.strip(" "))
    assert value == eval(exact, {"Fraction": Fraction})  # digits, signs and parentheses only


def test_the_worst_of_200_characters_takes_no_time():
    with within(0.1):
        evaluate("*".join(["999999999"] * 20))
        evaluate("(" * 99 + "1" + ")" * 99)
