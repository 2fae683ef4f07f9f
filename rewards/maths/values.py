"""The values of an answer's tree at fixed points, and whether two trees agree there.

Two expressions that agree at random points are equal, two that differ at one are not (Schwartz 1980, Zippel 1979).
Exact rationals while they are short, complex floats else; what floats can't tell is left open (None). At points with
negative variables only real values count: sqrt(1/n) is 1/sqrt(n), sqrt(x^2) is not x.
"""

import cmath
import functools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from rewards.maths.points import (
    POINTS,
    Number,
    Unsupported,
    Values,
    add,
    binomial,
    constant,
    difference,
    divide,
    each,
    each_of_one,
    exact,
    factorial,
    magnitude,
    multiply,
    power_of,
)
from rewards.maths.tree import Node

MAX_TERMS = 100  # of the sums that are added up, nested ones together
LARGEST = 20_000  # exponent or factorial that sympy is given
POSITIVE = 2  # points at which every variable is positive
AGREE, DIFFER = 1e-11, 1e-8  # relative; between them the verdict is open
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "log": cmath.log, "exp": cmath.exp,
    "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "sinh": cmath.sinh, "cosh": cmath.cosh,
    "tanh": cmath.tanh, "cot": lambda z: 1 / cmath.tan(z), "sec": lambda z: 1 / cmath.cos(z),
    "csc": lambda z: 1 / cmath.sin(z),
}  # fmt: skip
_SEVERAL: dict[str, Callable[..., Number]] = {"max": max, "min": min, "gcd": math.gcd, "lcm": math.lcm}
_TAKES_ANGLE = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})


@dataclass(frozen=True)
class Evaluated:
    """An expression's values at the points."""

    values: Values
    symbols: frozenset[str]

    @property
    def rational(self) -> bool:
        """Return whether the values are exact."""
        return exact(*self.values)

    @property
    def real(self) -> Fraction | None:
        """The value at the first point, if it is real."""
        value = self.values[0]
        if not isinstance(value, complex):
            return Fraction(value)
        return Fraction(value.real) if abs(value.imag) <= 1e-12 * abs(value.real) else None


def evaluated(node: Node, bound: Mapping[str, Values] | None = None, *, degrees: bool = False) -> Evaluated | None:
    """Return the values of an expression; None if it has none that can be told.

    Args:
        node: a tree.
        bound: values of variables, by name.
        degrees: the degree sign outside trigonometric functions is pi / 180; else it is a unit, of value 1.
    """
    evaluator = _Evaluator(bound or {}, degrees)
    try:
        values = evaluator.of(node)
    except (Unsupported, ArithmeticError, ValueError, TypeError):
        return None
    if any(isinstance(value, complex) and not cmath.isfinite(value) for value in values[:POSITIVE]):
        return None
    return Evaluated(values, frozenset(evaluator.symbols))


@functools.lru_cache(maxsize=1024)
def point(name: str) -> Values:
    """The values of a variable: the same in every expression."""
    source = random.Random(name)
    broken = Fraction(source.randint(701, 997), source.choice((211, 223, 227)))  # floor(x) is not x
    whole = [source.randint(11, 97) for _ in range(POINTS - 1)]
    return broken, whole[0], -whole[1], whole[2] if source.random() < 0.5 else -whole[2]


class _Evaluator:
    def __init__(self, bound: Mapping[str, Values], degrees: bool, terms: list[int] | None = None) -> None:
        self._bound, self._degrees = bound, degrees
        self._terms = [MAX_TERMS] if terms is None else terms  # left to add up, for all nested sums
        self._in_angle = False
        self.symbols: set[str] = set()

    def of(self, node: Node) -> Values:
        kind = node.kind
        if kind == "number" and node.number is not None:
            return constant(node.number.value)
        if kind in ("symbol", "word"):
            return self._names(node)
        if kind == "pi":
            return constant(complex(math.pi))
        if kind == "function":
            return self._function(node)
        if kind == "degrees":
            return self._degree(node.parts[0])
        if kind == "application":
            return self._application(node)
        if kind == "determinant":
            return self._determinant([[self.of(cell) for cell in row.parts] for row in node.parts])
        if kind == "based":
            digits, _, base = node.name.partition("_")
            return constant(int(digits, int(base)))
        parts = [self.of(part) for part in node.parts]
        if kind == "negative":
            return each_of_one(lambda value: multiply(-1, value), parts[0])
        if kind == "sum":
            return functools.reduce(functools.partial(each, add), parts)
        if kind == "product":
            return functools.reduce(functools.partial(each, multiply), parts)
        if kind == "percent":
            return each_of_one(lambda value: divide(value, 100), parts[0])
        if kind in _PAIRS and len(parts) == 2:
            return each(_PAIRS[kind], parts[0], parts[1])
        if kind in _SINGLE:
            return each_of_one(_SINGLE[kind], parts[0])
        raise Unsupported

    def _determinant(self, rows: list[list[Values]]) -> Values:
        """By the first row; of 4 rows or fewer."""
        if not 0 < len(rows) <= 4 or any(len(row) != len(rows) for row in rows):
            raise Unsupported
        if len(rows) == 1:
            return rows[0][0]
        total = constant(0)
        for at, entry in enumerate(rows[0]):
            minor = self._determinant([row[:at] + row[at + 1 :] for row in rows[1:]])
            total = each(add if at % 2 == 0 else difference, total, each(multiply, entry, minor))
        return total

    def _names(self, node: Node) -> Values:
        if node.kind == "word":
            return functools.reduce(
                functools.partial(each, multiply), (self.of(Node("symbol", (), letter)) for letter in node.name)
            )
        if node.name in ("e", "i") and node.name not in self._bound:
            return constant(complex(math.e) if node.name == "e" else 1j)
        if node.name == "reals" or node.name.startswith("set"):
            raise Unsupported
        self.symbols.add(node.name)
        return self._bound.get(node.name) or point(node.name)

    def _degree(self, angle: Node) -> Values:
        values = self.of(angle)
        if not (self._degrees or self._in_angle):
            return values
        return each_of_one(lambda value: multiply(complex(math.pi / 180), value), values)

    def _function(self, node: Node) -> Values:
        name = node.name
        if name in _SEVERAL:
            arguments = [self.of(part) for part in node.parts]
            if not all(exact(*values) for values in arguments):
                raise Unsupported
            if name in ("gcd", "lcm") and not all(isinstance(value, int) for values in arguments for value in values):
                raise Unsupported
            return tuple(_SEVERAL[name](*at) for at in zip(*arguments, strict=True))
        if name.rstrip("_") not in _FUNCTIONS:
            raise Unsupported
        outside, self._in_angle = self._in_angle, self._in_angle or name in _TAKES_ANGLE
        values = each_of_one(lambda value: _applied(_FUNCTIONS[name.rstrip("_")], value), self.of(node.parts[0]))
        self._in_angle = outside
        if name.endswith("_"):
            if name != "log_":
                raise Unsupported
            base = each_of_one(lambda value: _applied(cmath.log, value), self.of(node.parts[1]))
            values = each(divide, values, base)
        return values

    def _series(self, term: Node, operator: str, index: str, steps: range) -> Values:
        inner = _Evaluator({**self._bound, index: ()}, self._degrees, self._terms)
        total = constant(0 if operator == "sum" else 1)
        for step in steps:
            self._terms[0] -= 1
            if self._terms[0] < 0:
                raise Unsupported
            inner._bound = {**self._bound, index: constant(step)}
            total = each(add if operator == "sum" else multiply, total, inner.of(term))
        self.symbols |= inner.symbols - {index}
        return total

    def _application(self, node: Node) -> Values:
        """An unknown function: a value drawn for its name and its arguments, where those are exact."""
        operator, _, limits = node.name.partition(" ")
        index, _, first = limits.partition("=")
        last = node.parts[-1].number
        if operator in ("sum", "prod") and index and first.isdecimal() and last is not None:
            return self._series(node.parts[0], operator, index, range(int(first), int(last.value) + 1))
        arguments = [self.of(part) for part in node.parts]
        if not all(exact(*values) for values in arguments):
            raise Unsupported
        self.symbols.add(node.name)
        return tuple(random.Random(f"{node.name}{at}").randint(101, 9973) for at in zip(*arguments, strict=True))


def _applied(function: Callable[[complex], complex], value: Number) -> complex:
    return function(complex(value))


def _root(value: Number, degree: Number) -> Number:
    return power_of(value, divide(1, degree))


def _absolute(value: Number) -> Number:
    return complex(abs(value)) if isinstance(value, complex) else max(value, -value)


def _rounded(function: Callable[[float], int]) -> Callable[[Number], Number]:
    def apply(value: Number) -> Number:
        if not isinstance(value, complex):
            return function(value)  # type: ignore[arg-type]
        if abs(value.imag) > 1e-12 or abs(value.real) > 1e12 or abs(value.real - round(value.real)) < 1e-9:
            raise Unsupported
        return function(value.real)

    return apply


def _remainder(value: Number, modulus: Number) -> Number:
    if isinstance(value, complex) or isinstance(modulus, complex) or modulus <= 0:
        raise Unsupported
    return value % modulus


_PAIRS: dict[str, Callable[[Number, Number], Number]] = {
    "quotient": divide, "ratio": divide, "power": power_of, "root": _root, "binomial": binomial,
    "remainder": _remainder,
}  # fmt: skip
_SINGLE: dict[str, Callable[[Number], Number]] = {
    "factorial": factorial, "absolute": _absolute, "floor": _rounded(math.floor), "ceiling": _rounded(math.ceil)
}  # fmt: skip


def too_large(node: Node) -> bool:
    """Return whether sympy is not to see a tree: a tower of powers, a factorial of millions."""
    for part in node.walk():
        if part.kind in ("power", "factorial", "binomial"):
            value = evaluated(part.parts[-1] if part.kind == "power" else part.parts[0])
            if value is None or (not value.symbols and abs(complex(value.values[0])) > LARGEST):
                return True
    return False


def same_values(gold: Evaluated, answer: Evaluated) -> bool | None:
    """Return whether two expressions agree at all points; None if it can't be told."""
    verdicts: set[bool | None] = set()
    for at in range(POINTS):
        one, other = gold.values[at], answer.values[at]
        if at < POSITIVE or (_is_real(one) and _is_real(other)):
            verdicts.add(same_at_point(one, other))
    return False if False in verdicts else None if None in verdicts else True


def _is_real(value: Number) -> bool:
    return not isinstance(value, complex) or abs(value.imag) <= 1e-12 * abs(value.real)


def same_at_point(one: Number, other: Number) -> bool | None:
    """Return whether two values are equal; None between the two tolerances."""
    if exact(one, other):
        return one == other
    try:
        sizes, apart = (magnitude(one), magnitude(other)), magnitude(difference(one, other))
    except OverflowError:
        return None
    if min(sizes) < 1e-9:  # what remains of floats that cancel
        return False if max(sizes) > 1e-3 else None
    return True if apart <= AGREE * max(sizes) else False if apart > DIFFER * max(sizes) else None


def same_equation(gold: tuple[Node, Node], answer: tuple[Node, Node]) -> bool | None:
    """Return whether two equations are multiples, or one is the other solved; None if that can't be told."""
    factor = _factor(gold, answer)
    return (
        True
        if isinstance(factor, Number) and not isinstance(factor, bool)
        else (_solves(answer, gold) or _solves(gold, answer))
        if factor
        else factor
    )


def same_inequality(gold: tuple[Node, Node], answer: tuple[Node, Node]) -> bool | None:
    """Return whether two inequalities, both with < or both with <=, are positive multiples of each other."""
    factor = _factor(gold, answer)
    if isinstance(factor, bool) or factor is None:
        return None if factor is None else False
    return complex(factor).real > 0


def _factor(gold: tuple[Node, Node], answer: tuple[Node, Node]) -> Number | bool | None:
    """The constant (l1 - r1) / (l2 - r2); True if it is none, False if the symbols differ, None if it can't be told."""
    sides = [evaluated(side) for side in (*gold, *answer)]
    if any(side is None for side in sides):
        return None
    left, right, left_given, right_given = (side for side in sides if side is not None)
    if left.symbols | right.symbols != left_given.symbols | right_given.symbols:
        return False
    ratios: list[Number] = []
    for at in range(POINTS):
        above = difference(left.values[at], right.values[at])
        below = difference(left_given.values[at], right_given.values[at])
        if min(magnitude(above), magnitude(below)) < AGREE:
            return None
        ratios.append(divide(above, below))
    verdicts = {same_at_point(ratios[0], ratio) for ratio in ratios[1:]}
    return ratios[0] if verdicts == {True} else None if None in verdicts else True


def _solves(solved: tuple[Node, Node], equation: tuple[Node, Node]) -> bool:
    """Return whether `y = f(x)` is the solution of an equation that is linear in y: 1 / x of x y = 1.

    With g the equation's left side less its right: g(f) = 0, and g(f + 2) = 2 g(f + 1), not 0.
    """
    name, root = solved[0].name, evaluated(solved[1])
    if root is None or solved[0].kind != "symbol" or name in root.symbols:
        return False
    residues: list[Values] = []
    for step in range(3):
        at = each(add, root.values, constant(step))
        sides = [evaluated(side, {name: at}) for side in equation]
        if sides[0] is None or sides[1] is None:
            return False
        residues.append(each(difference, sides[0].values, sides[1].values))
    zero = all(magnitude(value) < AGREE for value in residues[0])
    linear = all(same_at_point(multiply(2, once), twice) for once, twice in zip(*residues[1:], strict=True))
    return zero and linear and all(magnitude(value) > AGREE for value in residues[1])
