"""Single expressions compared by sympy and math-verify. Imported by the worker process alone.

Equal expressions agree at random points and different ones don't, so numbers come first (fast, and no `simplify`
that runs for ever); what has no number (equations, sets, undefined points) goes to math-verify. Nothing here prints
or formats a sympy object: `str` of a large one raises or never ends.
"""

import functools
import logging
import random
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import sympy
from math_verify import LatexExtractionConfig, parse, verify

from rewards.algebra.agreement import same_equation, same_inequality, same_values
from rewards.algebra.expression import Evaluated, evaluated
from rewards.maths.equality import Unreadable
from rewards.maths.exact import FLOAT_DIGITS, read_number, rounds_to

logging.disable(logging.WARNING)  # math-verify warns once a process that its timeouts are off; stderr is nobody's
_CONFIG = (LatexExtractionConfig(boxed_match_priority=-1),)
_DEGREE = re.compile(r"\^ ?\{?\\circ ?\}?")
_DIGITS = 30
_POINTS = 3
_COUNTERS = {"k", "n", "m", "l"}
_RELATION = re.compile(r"(\\[lg]eq(?![A-Za-z])|[<>=])")
_SET = re.compile(r"\\(?:cup|cap|infty|emptyset)(?![A-Za-z])")
_NO_FUNCTION = re.compile(r"(?<!\\)\b(sqrt|sin|cos|tan|log|ln|exp|pi)\b")
_Side: TypeAlias = tuple[str, Fraction | None, bool]  # text, real value, rational


@functools.lru_cache(maxsize=4096)
def parsed(latex: str) -> Any:
    """The sympy object for a LaTeX expression, or None. math-verify's own timeouts are off: they are signals."""
    latex = _NO_FUNCTION.sub(r"\\\1 ", latex.replace("**", "^"))
    found = parse(f"${latex}$", extraction_config=_CONFIG, parsing_timeout=None, fallback_mode="no_fallback")
    return found[0] if found else None


def same_expression(gold: str, answer: str) -> bool:
    """Whether two single expressions, equations or inequalities are equal. Raises Unreadable."""
    if "\\text" in answer and "\\text" not in gold:
        return False
    gold, answer = _degrees(gold, answer)
    percent = read_number(gold)
    if percent is not None and percent.percent:
        plain = gold.rstrip("% ")
        return same_expression(plain, answer) or same_expression(rf"\frac{{{plain}}}{{100}}", answer)
    quick = _without_sympy(gold, answer)
    return _with_sympy(gold, answer) if quick is None else quick


def _without_sympy(gold: str, answer: str) -> bool | None:
    """The verdict of `rewards.algebra.agreement`, where it has one."""
    relation, answered = _relation(gold), _relation(answer)
    if relation is not None and answered is not None:
        same = same_equation if relation[0] == "=" else same_inequality
        return same(relation[1:], answered[1:]) if relation[0] == answered[0] else False
    wanted, given = evaluated(gold), evaluated(answer)
    if wanted is None or given is None:
        other = answer if wanted is not None else gold if given is not None else ""
        return False if _SET.search(other) else None  # a value and a set
    mine, theirs = wanted.symbols - given.symbols, given.symbols - wanted.symbols
    if len(mine) == len(theirs) == 1 and mine | theirs <= _COUNTERS and "\\pi" in gold:
        return None  # pi/6 + k pi and pi/6 + n pi
    verdict = same_values(wanted, given)
    if verdict is False and not wanted.symbols and not given.symbols:
        return _rounded((gold, _real(wanted), wanted.rational), (answer, _real(given), given.rational))
    return verdict


def _relation(text: str) -> tuple[str, str, str] | None:
    """A text with one relation as (sign, left, right), the sign one of =, < and <=; None if it is no such text."""
    parts = _RELATION.split(text)
    if len(parts) != 3:
        return None
    left, sign, right = parts
    sign = {"\\leq": "<=", "\\geq": ">="}.get(sign, sign)
    return (sign.replace(">", "<"), right, left) if ">" in sign else (sign, left, right)


def _real(number: Evaluated) -> Fraction | None:
    value = number.values[0]
    if isinstance(value, Fraction):
        return value
    return Fraction(value.real) if value.imag == 0 else None


def _with_sympy(gold: str, answer: str) -> bool:
    wanted, given = parsed(gold), parsed(answer)
    if wanted is None:
        raise Unreadable(gold=True)
    if given is None:
        raise Unreadable(gold=False)
    if isinstance(wanted, sympy.Expr) and isinstance(given, sympy.Expr):
        verdict = _at_points(wanted, given)
        if verdict is False:
            if wanted.free_symbols or given.free_symbols:
                return False
            return _rounded((gold, *_constant(wanted)), (answer, *_constant(given)))
        if verdict is True:
            return True
    if isinstance(wanted, sympy.Eq) and isinstance(given, sympy.Eq):
        verdict = _same_equation(wanted, given)
        if verdict is not None:
            return verdict
    return bool(verify(wanted, given, timeout_seconds=None))


def _degrees(gold: str, answer: str) -> tuple[str, str]:
    """Degree signs dropped; turned into pi / 180 where only one side has them and the other has pi."""
    sides = [gold, answer]
    for at in (0, 1):
        factor = r"\cdot\frac{\pi}{180}" if "\\pi" in sides[1 - at] and "\\circ" not in sides[1 - at] else ""
        sides[at] = factor.join(_DEGREE.split(sides[at]))
    return sides[0], sides[1]


def _at_points(wanted: sympy.Expr, given: sympy.Expr) -> bool | None:
    """Whether two expressions agree at random points; None where they have no value."""
    mine, theirs = wanted.free_symbols - given.free_symbols, given.free_symbols - wanted.free_symbols
    if (
        len(mine) == len(theirs) == 1
        and {symbol.name for symbol in mine | theirs} <= _COUNTERS
        and wanted.has(sympy.pi)
    ):
        given = given.subs(theirs.pop(), mine.pop())  # pi/6 + k pi for all integers k, whatever its name
    symbols = sorted(wanted.free_symbols | given.free_symbols, key=lambda symbol: symbol.name)
    if (
        len(symbols) > 12
        or wanted.atoms(sympy.core.function.AppliedUndef)
        or given.atoms(sympy.core.function.AppliedUndef)
    ):
        return None
    source = random.Random(7)
    agreed = 0
    for _ in range(_POINTS if symbols else 1):
        point = {symbol: sympy.Rational(source.randint(1000, 9000), source.randint(2000, 5000)) for symbol in symbols}
        values = [_value(side, point) for side in (wanted, given)]
        if values[0] is None or values[1] is None:
            return None
        scale = max(abs(values[0]), abs(values[1]), 1e-12)
        if abs(values[0] - values[1]) > scale * 1e-12:
            return False
        agreed += 1
    return agreed > 0


def _value(side: sympy.Expr, point: dict[sympy.Symbol, sympy.Rational]) -> complex | None:
    try:
        value = complex(side.subs(point).evalf(_DIGITS, maxn=200))
    except (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
        return None
    return value if value == value and abs(value) < 1e300 else None


def _constant(side: sympy.Expr) -> tuple[Fraction | None, bool]:
    """The real value of an expression without symbols, and whether it is rational."""
    value = _value(side, {})
    return (Fraction(value.real) if value is not None and value.imag == 0 else None), bool(side.is_rational)


def _rounded(gold: _Side, answer: _Side) -> bool:
    """Whether one side is a decimal and the other, irrational, rounds to it (conventions of rewards.maths.equality)."""
    for (text, _, _), (_, value, rational), least in ((gold, answer, 3), (answer, gold, FLOAT_DIGITS)):
        hundredths = re.fullmatch(r"\\frac\{([0-9.]+)\}\{100\}", text)
        decimal = read_number(str(Decimal(hundredths[1]).scaleb(-2)) if hundredths else text)
        if decimal is not None and value is not None and not rational:
            return rounds_to(value, decimal, least=least)
    return False


def _same_equation(wanted: sympy.Eq, given: sympy.Eq) -> bool | None:
    """Whether two equations are multiples of each other: (l1 - r1) / (l2 - r2) is a constant other than 0."""
    try:
        first, second = wanted.lhs - wanted.rhs, given.lhs - given.rhs
        if first.free_symbols != second.free_symbols:
            return False
    except (TypeError, AttributeError):
        return None
    source, ratios = random.Random(11), []
    for _ in range(_POINTS):
        point = {
            symbol: sympy.Rational(source.randint(1000, 9000), source.randint(2000, 5000))
            for symbol in sorted(first.free_symbols, key=lambda symbol: symbol.name)
        }
        values = _value(first, point), _value(second, point)
        if values[0] is None or values[1] is None or abs(values[1]) < 1e-12 or abs(values[0]) < 1e-12:
            return None
        ratios.append(values[0] / values[1])
    return all(abs(ratio - ratios[0]) <= 1e-9 * abs(ratios[0]) for ratio in ratios)
