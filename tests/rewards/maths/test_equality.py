"""Lists, tuples, intervals, chains, text: the structure of answers, without sympy."""

import pytest

from rewards.maths.equality import Comparison, Undecided, numbers_only, same_answer
from rewards.maths.text import normalise

STRICT, LENIENT = Comparison(numbers_only), Comparison(numbers_only, strict=False)
EQUAL = [
    ("3", "3.0"), ("1/2", "0.5"), ("1000", "10^3"), ("58,500", "58500"), ("3", "x = 3"), ("x = 5", "5"), ("3", "[3]"),
    ("3", "(3)"), ("1,-1,7", "-1, 1, 7"), (r"\{1,2\}", "2,1"), ("2,4,3", "T(10)=2, T(11)=4, T(12)=3"),
    ("1,3", "Minimum: 1, Maximum: 3"), ("7,14", "Paolo: 14, Qing: 7"), ("(1,2)", "(1, 2)"), ("(1,3)", "{1,3}"),
    ("(1,2),(3,4)", "(3,4),(1,2)"), ("1,2", r"\{2, 1\}"), ("[0,1)", "[0, 1)"), (r"x \in [-2,7]", "[-2,7]"),
    ("(3,4]", "3 < x <= 4"), (r"a \geq 0", r"[0, \infty)"), ("-5 < k", r"(-5, \infty)"), (r"\{x|-2<x<3\}", "(-2, 3)"),
    ("(-∞,-3) ∪ (3,+∞)", r"(3,\infty) \cup (-\infty,-3)"), ("28%", "28"), ("28%", "0.28"), ("28%", "7/25"),
    (r"90^\circ", "90"), (r"\text{Evelyn}", "evelyn"), ("B", r"\text{(B)}"), ("(D) Alina", "D"), ("C", "C. Cecile"),
    ("2:3", r"\frac{2}{3}"), (r"\begin{pmatrix} 1/5 \\ -3 \end{pmatrix}", r"\begin{bmatrix} 0.2 \\ -3 \end{bmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"), ("1000", "10^3 = 1000"), (r"\pm 3", "3, -3"),
    ("4343_6", "4343"), ("line segment, circle", r"\text{circle and line segment}"),
    ("Petya will receive the last token.", "Petya"), ("617", "1234/2"),
    (r"(a,b)=(3,2)", "b=2, a=3"), ("A room is 240 yuan and a hall is 210 yuan.", "240, 210"),
    (r"\{x | x < 3/2\} - \{-6\}", r"(-\infty,-6) \cup (-6, 1.5)"), (r"\mathbb{R} \setminus \{0\}", r"x \neq 0"),
    (r"\mathbb{R} \setminus \{2, 1\}", r"(-\infty,1) \cup (1,2) \cup (2,\infty)"),
    (r"1 \leq |z| < 2", r"(-2,-1] \cup [1,2)"),
    (r"|x| \leq 3", "[-3,3]"), ("|x| > 3", r"(-\infty,-3) \cup (3,\infty)"),
    ("Any odd number of people", "odd"), ("0.5", r"\frac{2}{4}"), ("8/46", "4/23"),
]  # fmt: skip
DIFFERENT = [
    ("3", "4"), ("3", "3,4"), ("3", "[3,3]"), ("3", "x = 4 = 3"), ("3", r"3 \approx 4"), ("3", r"4 \approx 3"),
    ("579", "123+456"), ("3", r"\int_0^3 1 dx"), ("6", "3!"), ("3", "3%"), ("1,2", "1,2,3"), ("1,2,3", "1,2"),
    ("(1,2)", "(2,1)"), ("(1,2)", "(1,2,3)"), ("(0,9)", "[0,9)"), ("(3,1)", "{1,3}"), ("x = 1", "x = 2"),
    ("x = 1", "y = 1"), ("odd", "oddd"), ("B", "A or B"), ("B", "A"), ("1/3", "0.33"), ("3", "any"),
    ("16,3,1,1", "16,3,1"), ("-2,-2", "-2,-1"), ("2:1", "1"), ("12:00", "1:00"), ("28%", "27"),
    ("3 < x < 4", "(3,5)"), ("k < -5", "k > -5"), ("The function is not odd at all", "odd"), ("1112_3", "1112_4"),
    ("12", ""), ("", "12"), ("1/2", r"\frac{2}{4}"), (r"x \in [-2,7]", r"-2 \leq x \leq 7"), ("(a,b)=(3,2)", "2,3"),
    ("A room is 240 yuan and a hall is 210 yuan.", "210, 240"),
    (r"|x| \leq 3", "[0,3]"), (r"[0,1] \setminus \{1\}", "[0,1]"), ("There are not 3 ways to do it", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_answers(gold, answer):
    assert same_answer(normalise(gold), normalise(answer), STRICT)


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different_answers(gold, answer):
    assert not same_answer(normalise(gold), normalise(answer), STRICT)


@pytest.mark.parametrize(("gold", "answer"), [("28", "28%"), ("1/2", "50%"), ("1/3", "0.333")])
def test_lenient_forgives_percent_and_rounding(gold, answer):
    assert same_answer(normalise(gold), normalise(answer), LENIENT)
    assert not same_answer(normalise(gold), normalise(answer), STRICT)


@pytest.mark.parametrize(("gold", "answer"), [("x+1", "1+x"), (r"\sqrt{2}", r"2^{1/2}"), ("x^2+y^2=1", "x^2=1-y^2")])
def test_expressions_are_left_to_sympy(gold, answer):
    with pytest.raises(Undecided):
        same_answer(normalise(gold), normalise(answer), STRICT)


def test_the_fast_and_the_slow_path_agree():
    # the slow path judges single expressions only; here it would call everything different, or everything equal
    for verdict in (True, False):
        slow = Comparison(lambda gold, answer, verdict=verdict: verdict)
        for gold, answer in EQUAL + DIFFERENT:
            pair = normalise(gold), normalise(answer)
            assert same_answer(*pair, slow) == same_answer(*pair, STRICT)
