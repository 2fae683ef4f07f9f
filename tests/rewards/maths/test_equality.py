"""Lists, tuples, intervals, chains, text: the structure of answers."""

import pytest

from rewards.maths.equality import Comparison
from rewards.maths.grammar import read

STRICT, LENIENT = Comparison(strict=True), Comparison(strict=False)


def same(gold, answer, how=STRICT):
    wanted, given = read(gold), read(answer)
    return wanted is not None and given is not None and how.same_answer(wanted, given)


EQUAL = [
    ("3", "3.0"), ("1/2", "0.5"), ("1000", "10^3"), ("58,500", "58500"), ("3", "x = 3"), ("x = 5", "5"), ("3", "[3]"),
    ("3", "(3)"), ("1,-1,7", "-1, 1, 7"), (r"\{1,2\}", "2,1"), ("2,4,3", "T(10)=2, T(11)=4, T(12)=3"),
    ("1,3", "Minimum: 1, Maximum: 3"), ("7,14", "Paolo: 14, Qing: 7"), ("(1,2)", "(1, 2)"), ("(1,3)", "{1,3}"),
    ("(1,2),(3,4)", "(3,4),(1,2)"), ("1,2", r"\{2, 1\}"), ("[0,1)", "[0, 1)"), (r"x \in [-2,7]", "[-2,7]"),
    ("(3,4]", "3 < x <= 4"), (r"a \geq 0", r"[0, \infty)"), ("-5 < k", r"(-5, \infty)"), (r"\{x|-2<x<3\}", "(-2, 3)"),
    ("(-∞,-3) ∪ (3,+∞)", r"(3,\infty) \cup (-\infty,-3)"), ("28%", "28"), ("28%", "0.28"), ("28%", "7/25"),
    (r"90^\circ", "90"), (r"\text{Evelyn}", "evelyn"),
    ("2:3", r"\frac{2}{3}"), (r"\begin{pmatrix} 1/5 \\ -3 \end{pmatrix}", r"\begin{bmatrix} 0.2 \\ -3 \end{bmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"), ("1000", "10^3 = 1000"), (r"\pm 3", "3, -3"),
    ("4343_6", "4343"), ("line segment, circle", r"\text{circle and line segment}"),
    ("Petya will receive the last token.", "Petya"), ("617", "1234/2"),
    (r"(a,b)=(3,2)", "b=2, a=3"), ("A room is 240 yuan and a hall is 210 yuan.", "240, 210"),
    (r"\{x | x < 3/2\} - \{-6\}", r"(-\infty,-6) \cup (-6, 1.5)"), (r"\mathbb{R} \setminus \{0\}", r"x \neq 0"),
    (r"\mathbb{R} \setminus \{2, 1\}", r"(-\infty,1) \cup (1,2) \cup (2,\infty)"),
    (r"1 \leq |z| < 2", r"(-2,-1] \cup [1,2)"),
    (r"|x| \leq 3", "[-3,3]"), ("|x| > 3", r"(-\infty,-3) \cup (3,\infty)"),
    ("p - q", "-q + p"), ("2xy", "2yx"), (r"\sqrt{17}", "√17"), ("2sqrt3", r"2\sqrt{3}"), ("pi/2", r"\frac{\pi}{2}"),
    ("exp(2)", "e^2"), ("alpha + 1", r"\alpha+1"), (r"2^6 3^5", "15552"), ("20:34", r"8:34 \text{ PM}"),
    ("4210_5", r"4210_{\text{five}}"),
    ("S_1:S_2=7:32", "7:32"), (r"x \le -5 \text{ or } x \ge 5", r"(-\infty,-5]\cup[5,\infty)"),
    ("(3,331),(1,2)", "(1, 2), (3, 331)"),
    (r"e^{i\pi}", "-1"), ("-1", r"e^{i\pi} = -1"), (r"\sum_{k=0}^{n} F_k G_k", r"\sum_{k=0}^{n} G_k F_k"),
    ("x=3", "3"),
    (r"(\sqrt{2}, -1), (-\sqrt{2}, -1)", r"(\pm \sqrt{2}, -1)"), (r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}"),
    ("4^{-1}", "0.25"),
    (r"x \neq 5", r"(-\infty,5)\cup(5,\infty)"), ("7 \\pmod{11}", "7"), (r"\frac12", r"\sin 30^\circ"),
    (r"\binom{n}{2}", "n(n-1)/2"),
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
    ("2xy", "2"), ("5xyz", "5"), ("p - q", "pq"), ("p - q", "p, q"), ("ab", "-ab"), ("xy!", "xy"),
    ("f(4-x)", "f(4x)"),
    ("x=3", "y=3"), (r"(-\infty, 2)", r"(\infty, 2)"), (r"(-\infty, 2)", r"[-\infty, 2)"), ("√17", "7"),
    ("√12", "2"), ("x", "|x|"),
    ("x", r"\sqrt{x^2}"), ("3", "x_3"), ("3", "anything but 3"), ("3", "half of 3 apples"),
    ("3", "about 3 million"), ("3", "3 dozen"),
    ("3", "3 or so"), ("3", "the third of 3"), (r"\lfloor x \rfloor", "x"), ("(3,331)", "3331"),
    (r"2\frac{1}{2}", "1"), ("1:4:9:\\ldots", "1:2:3:\\ldots"),
    ("3", r"3 \pmod{1}"), ("8:34 pm", "8:34 am"), ("4:2", "2:1"), ("12^{2}", "12"), ("2^{60}", "1152921504606846977"),
    (r"|x| \leq 3", "[0,3]"), (r"[0,1] \setminus \{1\}", "[0,1]"), ("There are not 3 ways to do it", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_answers(gold, answer):
    assert same(gold, answer, STRICT)


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different_answers(gold, answer):
    assert not same(gold, answer, STRICT)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("1/3", "0.333"), ("3", "1+2"), ("4.24", r"x = 3\sqrt{2} \approx 4.24")],
)
def test_lenient_forgives_rounding_and_sums(gold, answer):
    assert same(gold, answer, LENIENT)


@pytest.mark.parametrize(("gold", "answer"), [("0.28", "28%"), ("1/2", "50%"), ("1/3", "0.333"), ("3", "1+2")])
def test_strict_does_not(gold, answer):
    assert not same(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), [("0.28", "28%"), ("1/2", "50%"), ("1/2", "2/4")])
def test_neither_takes_percent_unasked_or_a_fraction_that_can_be_reduced(gold, answer):
    assert not same(gold, answer, STRICT) and not same(gold, answer, LENIENT)


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_lenient_pays_what_strict_pays(gold, answer):
    assert same(gold, answer, LENIENT)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (r"\frac{1}{2006!}", r"\frac{1}{2004!}", False),
        (r"\frac{1}{2006!}", r"\frac{2}{2 \cdot 2006!}", True),
        (r"(1, \frac{1}{2006!})", r"(1, \frac{1}{2004!})", False),
        (r"\sqrt{2}\sqrt{3}-\sqrt{6}", r"\sqrt{2}\sqrt{5}-\sqrt{10}", True),  # both are 0
    ],
)
def test_values_that_no_float_holds(gold, answer, expected):
    assert same(gold, answer) is expected


@pytest.mark.parametrize(
    ("gold", "answer", "words", "expected"),
    [
        ("7 m", "7", {"meter"}, True),  # the question speaks of metres
        ("7 m", "7", set(), False),  # 7 times m
        ("3", r"3\text{ goats}", {"goats"}, True),
        ("3", r"3\text{ goats}", set(), False),
        ("12", "12 ft", set(), True),
        ("12 ft", "12 feet", set(), True),
        ("12 ft", "12 m", set(), False),
        (r"12\text{ cm}^2", r"12\text{ square cm}", set(), True),
        (r"12\text{ cm}^2", r"12\text{ cm}", set(), False),
        ("5 mi/hr", r"5 \mathrm{mi/hr}", set(), True),
        ("9 chickens and 10 rabbits", "10 chickens and 9 rabbits", {"chickens", "rabbits"}, False),
        ("9, 10", "9 chickens, 10 rabbits", {"chickens", "rabbits"}, True),
    ],
)
def test_units_are_known_or_the_questions(gold, answer, words, expected):
    assert same(gold, answer, Comparison(words=frozenset(words))) is expected
