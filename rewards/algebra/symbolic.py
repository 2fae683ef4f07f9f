"""Single expressions that values in floats can't tell apart: more digits, then sympy. Imported by the worker alone.

Built from the tree that the grammar read, never from text: what sympy's own parsers make of an answer is not asked.
Nothing here prints or formats a sympy object: `str` of a large one raises or never ends.
"""

from typing import Any

import sympy

from rewards.maths.points import Unsupported
from rewards.maths.tree import Node
from rewards.maths.values import POSITIVE, point

DIGITS = 60
_TAKES_ANGLE = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_FUNCTIONS: dict[str, Any] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "ln": sympy.log, "log": sympy.log, "exp": sympy.exp,
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "sinh": sympy.sinh, "cosh": sympy.cosh,
    "tanh": sympy.tanh, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc, "max": sympy.Max, "min": sympy.Min,
    "gcd": sympy.gcd, "lcm": sympy.lcm,
}  # fmt: skip
_KINDS: dict[str, Any] = {
    "sum": lambda *parts: sympy.Add(*parts), "product": lambda *parts: sympy.Mul(*parts), "negative": lambda x: -x,
    "quotient": lambda x, y: x / y, "ratio": lambda x, y: x / y, "power": lambda x, y: x**y,
    "root": lambda x, y: x ** (1 / y), "factorial": sympy.factorial, "binomial": sympy.binomial,
    "absolute": sympy.Abs, "floor": sympy.floor, "ceiling": sympy.ceiling, "percent": lambda x: x / 100,
}  # fmt: skip


def same_expression(gold: Node, answer: Node) -> bool:
    """Return whether two expressions are equal: different where more digits say so, equal where they or sympy do.

    Raises Unsupported for what is no expression: then there is no match.
    """
    difference = expression(gold) - expression(answer)
    for at in range(POSITIVE):
        values = {
            symbol: sympy.Rational(point(symbol.name)[at].numerator, point(symbol.name)[at].denominator)  # type: ignore[union-attr]
            for symbol in difference.free_symbols
        }
        value = abs(difference.subs(values).evalf(DIGITS, maxn=400))
        if value.is_number and value.is_comparable and value > sympy.Float(10) ** -25:
            return False
    return bool(sympy.simplify(difference) == 0)


def expression(node: Node, *, angle: bool = False) -> Any:
    """The sympy expression of a tree."""
    if node.kind == "number" and node.number is not None:
        return sympy.Rational(node.number.value.numerator, node.number.value.denominator)
    if node.kind == "symbol":
        return {"e": sympy.E, "i": sympy.I}.get(node.name) or sympy.Symbol(node.name)
    if node.kind == "word":
        return sympy.Mul(*(expression(Node("symbol", (), letter)) for letter in node.name))
    if node.kind == "pi":
        return sympy.pi
    if node.kind == "infty":
        return sympy.oo
    if node.kind == "degrees":
        return expression(node.parts[0]) * (sympy.pi / 180 if angle else 1)
    if node.kind == "function":
        name = node.name.rstrip("_")
        if name not in _FUNCTIONS:
            raise Unsupported
        return _FUNCTIONS[name](*(expression(part, angle=name in _TAKES_ANGLE) for part in node.parts))
    if node.kind == "application":
        return sympy.Function(node.name)(*(expression(part) for part in node.parts))
    if node.kind not in _KINDS:
        raise Unsupported
    return _KINDS[node.kind](*(expression(part, angle=angle) for part in node.parts))
