"""What the grammar reads, and what it leaves as text."""

import pytest

from rewards.maths.grammar import read
from tests.timing import within


def shown(node):
    """A tree on one line."""
    named = f"{node.kind}:{node.name}" if node.name and node.number is None else node.kind
    head = named if node.number is None else str(node.number.value)
    return f"{head}({', '.join(map(shown, node.parts))})" if node.parts else head


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("2xy", "product(2, word:xy)"),  # a letter that touches a number is a variable
        ("4ac^2", "product(4, symbol:a, power(symbol:c, 2))"),
        ("-x^2", "negative(power(symbol:x, 2))"),
        ("a-b-c", "sum(symbol:a, negative(symbol:b), negative(symbol:c))"),
        ("1/2x", "product(quotient(1, 2), symbol:x)"),
        (r"\frac12\sqrt3", "product(quotient(1, 2), root(3, 2))"),
        ("2√15", "product(2, root(15, 2))"),
        (r"\sqrt[3]{x}", "root(symbol:x, 3)"),
        (r"2 \sin 5x \cos x", "product(2, function:sin(product(5, symbol:x)), function:cos(symbol:x))"),
        (r"\log_2(8)", "function:log_(8, 2)"),
        ("f(4-x)", "application:f(sum(4, negative(symbol:x)))"),
        ("n!", "factorial(symbol:n)"),
        ("x_{12}'", "symbol:x_12'"),
        ("2 2/3", "8/3"),
        (r"3\frac{1}{2}", "7/2"),
        (r"3\frac{x}{2}", "product(3, quotient(symbol:x, 2))"),
        ("52_{8}", "based:52_8"),
        ("[0,1)", "group:[)(0, 1)"),
        ("(3,331)", "group:()(3, 331)"),
        ("(1,000, 2)", "group:()(1000, 2)"),
        (r"\langle 1,2\rangle", "group:()(1, 2)"),
        (r"\{x \mid x<3\}", "builder(symbol:x, relation:<(symbol:x, 3))"),
        (r"\left[\begin{array}{cc}1 & 2\end{array}\right]", "matrix(row(1, 2))"),
        ("x=1 or x=2", "list:or(relation:=(symbol:x, 1), relation:=(symbol:x, 2))"),
        (r"3 \pm x", "list:,(sum(3, symbol:x), sum(3, negative(symbol:x)))"),
        (r"144 \mbox{ m}^3", "quantity:meter^3(144)"),
        ("5:30 p.m.", "quantity:pm(ratio(5, 30))"),
        (r"\$18.90", "quantity:dollar(189/10)"),
        ("60 degrees", "degrees(60)"),
        (r"\sin 30^\circ", "function:sin(degrees(30))"),
        ("28 percent", "percent(28)"),
        ("Minimum: 1", "named:minimum(1)"),
        ("The answer is 42", "named:the answer is(42)"),
        (r"x^2 \text{ for all real } x", "power(symbol:x, 2)"),
        ("72, altogether", "72"),
        (r"\textcolor{red}{5}", "5"),
        (r"\underline{\color{blue}5}", "5"),
        (r"\\frac{1}{2}", "quotient(1, 2)"),  # escaped twice
        ("\x0crac{1}{2}", "quotient(1, 2)"),  # escaped once too few
        ("−５", "negative(5)"),  # minus sign and full-width digit
        (r"\Xi\foo", r"product(symbol:Xi, symbol:\foo)"),  # an unknown command is a name
    ],
)
def test_trees(text, tree):
    reading = read(text)
    assert shown(reading.tree) == tree
    assert reading.known


@pytest.mark.parametrize(
    "text",
    ["half of 3 apples", "anything but 3", "about 3", "3 and a half", r"3\frac{7}{2}", "3 half", "2 3", "1/", "a^b^c",
     r"3\text{ (or maybe 4)}", r"\log_28", "(1,2", "It is not 3", "3 is wrong", r"\text{not } 3", r"\sin{x}^2",
     "3 apples 4"],
)  # fmt: skip
def test_what_is_not_known_is_text(text):
    assert not read(text).known


@pytest.mark.parametrize("text", ["", "#3", "\\begin{cases}1\\end{cases}", "a" * 700 + "$" * 3 + "@"])
def test_what_has_no_tokens_is_nothing(text):
    assert read(text) is None


UNITS = ["2\\frac{", "\\{x|", "(", "|", "-", "1/", "x^", "\\pm", "f(", "a is ", "\\sqrt{", "1,", "(1,", "{,", "\\left(",
         "\\sin ", "x_", "\\sum_", "3 apples ", "and ", "=", "!", "\\text{", "\\begin{matrix}", "((1)", "2 ",
         "\\overline{", "\\{x \\in ", "a:", "1_", "\\log_"]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_hostile_text_takes_no_time(unit):
    with within(0.5):  # a few milliseconds each
        for end in ("", "3", "}" * 40, ")" * 40):
            read(unit * (1900 // len(unit)) + end)
