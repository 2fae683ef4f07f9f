"""One spelling for the ways of writing an answer."""

import pytest

from rewards.maths.text import closing_brace, depth_of, list_items, normalise, split_top


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (r"\frac65", r"\frac{6}{5}"),
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        (r"\frac{\pi}6", r"\frac{\pi}{6}"),
        (r"\sqrt3", r"\sqrt{3}"),
        (r"10,\!080", "10,080"),
        (r"10{,}000", "10,000"),
        (r"\left( \frac{3}{2}, -13 \right)", r"( \frac{3}{2}, -13 )"),
        (r"36^{\circ}", r"36^\circ"),
        (r"15\mbox{ cm}^2", r"15\text{cm}^2"),
        (r"\mathrm{e}", "e"),
        ("$42$.", "42"),
        (r"\(x\)", "x"),
        (r"\boxed{\boxed{3}}", "3"),
        ("**7**", "7"),
        ("3\u200b", "3"),
        ("−５", "-5"),  # minus sign and full-width digit
        ("6½", "6 1/2"),
        ("x²", "x^2"),
        ("28 percent", "28%"),
        ("x >= 5", r"x \geq 5"),
        (r"x \le 5", r"x \leq 5"),
        (r"\\frac{1}{2}", r"\frac{1}{2}"),  # escaped twice
        ("\x0crac{1}{2}", r"\frac{1}{2}"),  # escaped once too few
        (r"\begin{pmatrix} 1/5 \\ -2 \end{pmatrix}", r"\begin{matrix} 1/5 \\ -2 \end{matrix}"),
    ],
)
def test_variants_become_one(text, normal):
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("1, 2", ["1", "2"]),
        ("1,000", ["1,000"]),
        ("1,000, 2,000", ["1,000", "2,000"]),
        ("7,14,18", ["7", "14", "18"]),
        ("0,111", ["0,111"]),
        ("(1,2),(3,4)", ["(1,2)", "(3,4)"]),
        (r"1 \text{ and } 3", ["1", "3"]),
        ("19, 46, and 82", ["19", "46", "82"]),
        ("[0,1)", ["[0,1)"]),
    ],
)
def test_lists_split_at_the_top(text, items):
    assert list_items(text) == items


def test_brackets_are_matched_in_one_pass():
    assert closing_brace(r"{a{b}\}c}d", 0) == 8
    assert closing_brace("{{{", 0) == -1
    assert split_top("f(a=b)=c", "=") == ["f(a=b)", "c"]
    assert depth_of("((x)[{y}])") == 3
