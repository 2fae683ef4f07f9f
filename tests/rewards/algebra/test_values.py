"""Expressions by value: what it says, and what it leaves open."""

import pytest

from rewards.algebra.values import evaluated, same_equation, same_inequality, same_values
from rewards.maths.grammar import read
from tests.timing import within


def tree(text):
    return read(text).tree


def verdict(gold, answer):
    wanted, given = evaluated(tree(gold)), evaluated(tree(answer))
    return None if wanted is None or given is None else same_values(wanted, given)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("(x+1)^2", "x^2+2x+1", True),
        ("(x+1)^2", "x^2+2x+2", False),
        (r"x^2\frac{1}{2}", r"\frac{x^2}{2}", True),  # no mixed number in an exponent
        (r"3\frac{1}{2}", r"\frac{7}{2}", True),  # but here
        (r"\sqrt[3]{\frac{5}{12}}", r"(\frac{5}{12})^{\frac{1}{3}}", True),
        (r"\sqrt{117}", r"3\sqrt{13}", True),
        ("x_1+x_{12}", "x_{12}+x_1", True),
        ("x_1", "x_2", False),
        (r"\sin^2 x+\cos^2 x", "1", True),
        (r"2 \sin 5x \cos x", r"2\cos x \sin 5x", True),
        (r"\sin^{-1} 1", r"\frac{\pi}{2}", True),
        (r"\sin(5)^2+\cos(5)^2", "1", True),  # the power of what has brackets is the function's
        (r"\sin(x)^2", r"\sin(x^2)", False),
        (r"\sin{x}^2", r"\sin^2 x", None),
        (r"\sin[x]^2", r"\sin^2 x", None),
        (r"\frac{x^\prime}{2}", r"\frac{1}{2}x^{\prime}", True),  # its brace is the fraction's
        (r"v^2_0", r"v_0^2", True),
        (r"v^{2}_{12}", r"v_{12}^2", True),
        (r"v^2_0", r"v_2^0", False),
        (r"3\omega_{L}^{\prime}", r"\omega_L^\prime\cdot 3", True),
        (r"x^{\prime}", "x", False),
        (r"\log_2 8", "3", True),
        (r"e^{i\pi}", "-1", True),
        ("2^{60}", "1152921504606846977", False),  # 2^60 = 1152921504606846976: exact, where floats would agree
        ("|x-3|", "|3-x|", True),
        ("|x|", "x", False),  # equal for positive x only
        (r"\sqrt{x^2}", "x", False),
        (r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}", True),  # at negative n, both are no real numbers
        ("5!", "120", True),
        (r"\binom{5}{2}", "10", True),
        (r"\sum_{k=1}^3 k x", "6x", True),
        (r"\sum_{k=1}^n k", r"\sum_{k=1}^n k+0", True),
        (r"\binom{n}{2}", r"\frac{n(n-1)}{2}", True),
        ("f(x)", "f(y)", False),
        (r"\lfloor x \rfloor", "x", False),
        ("2 3", "6", None),
        ("1/0", "1", None),
        ("(1,2)", "3", None),
        ("9^{9^{9}}", "1", False),
        ("Even", "x", None),
        (r"\log_28", "3", None),  # LaTeX reads log_2 8, a person may mean base 28
    ],
)
def test_expressions_are_compared_by_value(gold, answer, expected):
    assert verdict(gold, answer) is expected


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (("x^2+y^2", "1"), ("x^2", "1-y^2"), True),
        (("2x+4y-3", "0"), ("y", r"-\frac{1}{2}x+\frac{3}{4}"), True),
        (("y", "2x"), ("y", "3x"), False),
        (("xy", "1"), ("y", r"\frac{1}{x}"), True),  # no multiple, but its solution
        (("y^2", "x^2"), ("y", "x"), False),  # one solution of two
        (("y", "x"), ("z", "x"), False),
        (("x", "x"), ("x", "x"), False),
    ],
)
def test_equations_are_compared_up_to_a_factor_and_solving(gold, answer, expected):
    assert same_equation(*(tuple(map(tree, sides)) for sides in (gold, answer))) is expected


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (("x", "1"), ("-1", "-x"), True),  # x < 1 and -1 < -x
        (("x", "1"), ("1", "x"), False),  # x < 1 and 1 < x
        (("x+y", "1"), ("2x", "2-2y"), True),
        (("x", "1"), ("y", "1"), False),
    ],
)
def test_inequalities_are_compared_up_to_a_positive_factor(gold, answer, expected):
    assert same_inequality(*(tuple(map(tree, sides)) for sides in (gold, answer))) is expected


def test_hostile_expressions_cost_no_time():
    with within(1.0):
        for text in ("(" * 1000 + "1" + ")" * 1000, "x^" * 500 + "x", "-" * 2000 + "1", "(x+1)^{99}" * 40, "9!" * 40,
                     r"\frac{1}{" * 200 + "x" + "}" * 200, "9" * 2000 + "^{99999}", "|" * 300 + "x",
                     r"\sum_{i=1}^{99} \sum_{j=1}^{99} \sum_{k=1}^{99} i j k", r"\sum_{i=1}^{999999999} i",
                     r"(10^{80})!", r"2^{2^{2^{300}}}", r"\int_0^1 \sum_{k=1}^{5000} x^k dx",
                     r"\int_0^{10^{50}} \sin(x^2) dx", "e^{e^{e^{e^{e^{10}}}}}"):  # fmt: skip
            reading = read(text)
            if reading is not None:
                evaluated(reading.tree)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (r"\int_0^1 x^2\,dx", "1/3", True),
        (r"\int_0^1 x^2\,dx", "1/4", False),
        (r"\int_{-\infty}^{\infty} e^{-x^2}\,dx", r"\sqrt{\pi}", True),
        (r"\int_0^x 2t\,dt", "x^2", True),
        (r"\int_0^\pi \sin x\,dx", "2", True),
        (r"\int_0^1 \frac{1}{x}\,dx", r"\int_0^1 \frac{1}{y}\,dy", True),  # no value, but the same integral
        (r"\int_0^1 \frac{1}{x}\,dx", r"\int_0^1 \frac{2}{y}\,dy", False),
        (r"\sum_{k=1}^n k", r"\frac{n(n+1)}{2}", True),  # where n is a natural number
        (r"\sum_{k=1}^n k", r"\frac{n(n-1)}{2}", False),
        (r"\prod_{k=1}^n k", "n!", True),
    ],
)
def test_integrals_and_sums_are_worked_out(gold, answer, expected):
    assert verdict(gold, answer) is expected
