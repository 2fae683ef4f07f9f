"""The values of an answer's tree at fixed points, and whether two trees agree there.

Two expressions that agree at random points are equal, two that differ at one are not (Schwartz 1980, Zippel 1979).
At points with negative variables only real values count: sqrt(1/n) is 1/sqrt(n), sqrt(x^2) is not x.
"""

import functools
import math
import operator
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from rewards.algebra import arithmetic
from rewards.algebra.arithmetic import MP, SAME, Number, Unsupported, add, exact, is_real, multiply, same, subtract
from rewards.maths.exact import FLOAT_DIGITS
from rewards.maths.tree import Node, is_infinite

POINTS, POSITIVE = 4, 2  # at the first two every variable is positive
MAX_STEPS = 20_000  # nodes that are evaluated for one value, those of sums and integrals together
INTEGRAL, PRINTED = MP.mpf("1e-10"), MP.mpf("1e-11")  # relative error of an integral, of a float that was printed
_TAKES_ANGLE = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_FUNCTIONS = {name: name for name in (*_TAKES_ANGLE, "sinh", "cosh", "tanh", "ln")} | {"log": "ln"}
_FUNCTIONS |= {f"arc{name}": f"a{name}" for name in _TAKES_ANGLE}
_SEVERAL = frozenset({"max", "min", "gcd", "lcm"})
_SINGLE: dict[str, Callable[[Number], Number]] = {
    "negative": operator.neg, "percent": lambda value: arithmetic.divide(value, 100), "absolute": abs,
    "factorial": arithmetic.factorial, "floor": arithmetic.whole(math.floor), "ceiling": arithmetic.whole(math.ceil),
}  # fmt: skip
_PAIRS: dict[str, Callable[[Number, Number], Number]] = {
    "sum": add, "product": multiply, "quotient": arithmetic.divide, "ratio": arithmetic.divide,
    "power": arithmetic.power, "root": arithmetic.root, "binomial": arithmetic.binomial,
    "remainder": arithmetic.remainder,
}  # fmt: skip
_quadrature = threading.RLock()  # changes the digits of MP while it runs


@dataclass(frozen=True)
class Evaluated:
    """An expression's values at the points, and how far they may be off."""

    values: tuple[Number, ...]
    symbols: frozenset[str]
    tolerance: Number = SAME

    @property
    def rational(self) -> bool:
        """Return whether the values are exact."""
        return all(map(exact, self.values))

    @property
    def real(self) -> Fraction | None:
        """The value at the first point, if it is real and no float is too small for it."""
        value = self.values[0]
        if exact(value):
            return Fraction(value)
        return Fraction(float(value.real)) if is_real(value) and MP.mag(value) < 1000 else None


def evaluated(
    node: Node, bound: Mapping[str, tuple[Number, ...]] | None = None, *, degrees: bool = False
) -> Evaluated | None:
    """Return the values of an expression; None if it has none that can be told.

    Args:
        node: a tree.
        bound: values of variables at the points, by name.
        degrees: the degree sign outside trigonometric functions is pi / 180; else it is a unit, of value 1.
    """
    values: list[Number] = []
    try:
        for at in range(POINTS):
            evaluator = _Evaluator(at, bound or {}, degrees)
            values.append(evaluator.of(node))
            if at < POSITIVE and not exact(values[at]) and MP.isinf(values[at]):
                return None
            if not evaluator.symbols:
                values *= POINTS
                break
    except (Unsupported, ArithmeticError, ValueError, TypeError):
        return None
    return Evaluated(tuple(values), frozenset(evaluator.symbols), evaluator.tolerance)


def real(node: Node) -> Fraction | None:
    """The value of a real number; None for what is none or holds a variable."""
    found = evaluated(node)
    return None if found is None or found.symbols else found.real


@functools.lru_cache(maxsize=1024)
def point(name: str) -> tuple[Number, ...]:
    """The values of a variable: the same in every expression."""
    source = random.Random(name)
    broken = Fraction(source.randint(701, 997), source.choice((211, 223, 227)))  # floor(x) is not x
    first, *others = (source.randint(11, 97) for _ in range(POINTS - 1))
    return broken, first, -others[0], others[1] if source.random() < 0.5 else -others[1]


class _Evaluator:
    """Evaluation at one of the points."""

    def __init__(self, at: int, bound: Mapping[str, tuple[Number, ...]], degrees: bool) -> None:
        self._at, self._bound, self._degrees = at, bound, degrees
        self._steps = MAX_STEPS
        self._locals: dict[str, Number] = {}  # variables of sums and integrals
        self._in_angle = False
        self.symbols: set[str] = set()
        self.tolerance = SAME

    def of(self, node: Node) -> Number:
        self._steps -= 1
        if self._steps < 0:
            raise Unsupported
        kind, parts = node.kind, node.parts
        if kind == "number" and node.number is not None:
            if node.number.decimals and node.number.significant >= FLOAT_DIGITS:
                self.tolerance = max(self.tolerance, PRINTED)
            return arithmetic.short(node.number.value)
        if kind == "symbol":
            return self._named(node.name)
        if kind == "word":
            return functools.reduce(multiply, map(self._named, node.name))
        if kind == "pi":
            return arithmetic.PI
        if kind == "function":
            return self._function(node.name, parts)
        if kind == "degrees":
            angle = self.of(parts[0])
            return multiply(arithmetic.PI / 180, angle) if self._degrees or self._in_angle else angle
        if kind == "application":
            return self._drawn(node)
        if kind == "bound":
            return self._bounded(node)
        if kind == "determinant":
            return _determinant([[self.of(cell) for cell in row.parts] for row in parts])
        if kind == "based":
            digits, _, base = node.name.partition("_")
            return int(digits, int(base))
        if kind in _SINGLE:
            return _SINGLE[kind](self.of(parts[0]))
        if kind in _PAIRS:
            return functools.reduce(_PAIRS[kind], map(self.of, parts))
        raise Unsupported

    def _named(self, name: str) -> Number:
        if name in self._locals:
            return self._locals[name]
        if name in ("e", "i") and name not in self._bound:
            return arithmetic.E if name == "e" else arithmetic.IMAGINARY
        if name == "reals" or name.startswith("set"):
            raise Unsupported
        self.symbols.add(name)
        return (self._bound.get(name) or point(name))[self._at]

    def _function(self, name: str, parts: tuple[Node, ...]) -> Number:
        name, based, _ = name.partition("_")
        outside, self._in_angle = self._in_angle, self._in_angle or name in _TAKES_ANGLE
        values = [self.of(part) for part in parts]
        self._in_angle = outside
        if name in _SEVERAL:
            return arithmetic.extreme(name, *values)
        if name == "exp":
            return arithmetic.power(arithmetic.E, values[0])
        if name not in _FUNCTIONS or (based and name != "log"):
            raise Unsupported
        found = arithmetic.applied(_FUNCTIONS[name], values[0])
        return arithmetic.divide(found, arithmetic.applied("ln", values[1])) if based else found

    def _bounded(self, node: Node) -> Number:
        """A sum, a product or an integral between values; without those as an unknown function of its parts."""
        operation, _, variable = node.name.partition(" ")
        try:
            if operation not in ("sum", "prod", "int") or len(node.parts) != 3 or not variable:
                return self._drawn(node)
            low, high = (_infinity(limit) or self.of(limit) for limit in node.parts[1:])
            if operation == "int":
                return self._integral(node.parts[0], variable, low, high)
            if not exact(low, high):
                return self._drawn(node)
            if not (isinstance(low, int) and isinstance(high, int)) or high < low - 1:
                return MP.nan  # a sum up to n, where n is no natural number
        except (Unsupported, ArithmeticError):
            return self._drawn(node)
        terms = (self._with(variable, step, node.parts[0]) for step in range(low, high + 1))
        return functools.reduce(*((add, terms, 0) if operation == "sum" else (multiply, terms, 1)))

    def _with(self, variable: str, value: Number, body: Node) -> Number:
        outside = self._locals
        self._locals = {**outside, variable: value}
        try:
            return self.of(body)
        finally:
            self._locals = outside

    def _integral(self, body: Node, variable: str, low: Number, high: Number) -> Number:
        with _quadrature:
            ends = [MP.convert(low), MP.convert(high)]
            value, error = MP.quad(lambda x: MP.convert(self._with(variable, x, body)), ends, error=True, maxdegree=6)
        if not error < INTEGRAL * (1 + abs(value)) / 100:
            raise Unsupported
        self.tolerance = INTEGRAL
        return 0 if abs(value) < INTEGRAL**2 else value

    def _drawn(self, node: Node) -> int:
        """An unknown function: a value drawn for its name and its arguments."""
        arguments = [_infinity(part) or self.of(part) for part in node.parts]
        self.symbols.add(node.name)
        spelled = [MP.nstr(MP.convert(one), 20) for one in arguments]
        return random.Random(f"{node.name} {spelled}").randint(101, 9973)


def _infinity(node: Node) -> Number | None:
    return MP.inf if is_infinite(node, 1) else MP.ninf if is_infinite(node, -1) else None


def _determinant(rows: list[list[Number]]) -> Number:
    """By the first row; of 4 rows or fewer."""
    if not 0 < len(rows) <= 4 or any(len(row) != len(rows) for row in rows):
        raise Unsupported
    if len(rows) == 1:
        return rows[0][0]
    minors = ([row[:at] + row[at + 1 :] for row in rows[1:]] for at in range(len(rows)))
    signed = (entry * (-1) ** at for at, entry in enumerate(rows[0]))
    return functools.reduce(add, map(multiply, signed, map(_determinant, minors)))


def same_values(gold: Evaluated, answer: Evaluated) -> bool:
    """Return whether two expressions agree at all points."""
    tolerance = max(gold.tolerance, answer.tolerance)
    compared = [
        pair
        for at, pair in enumerate(zip(gold.values, answer.values, strict=True))
        if all(map(is_real, pair)) or (at < POSITIVE and not any(map(MP.isnan, pair)))
    ]
    return bool(compared) and all(same(*pair, tolerance) for pair in compared)


def same_equation(gold: tuple[Node, ...], answer: tuple[Node, ...]) -> bool:
    """Return whether two equations are multiples, or one is the other solved."""
    return _factor(gold, answer) is not None or _solves(answer, gold) or _solves(gold, answer)


def same_inequality(gold: tuple[Node, ...], answer: tuple[Node, ...]) -> bool:
    """Return whether two inequalities, both with < or both with <=, are positive multiples of each other."""
    factor = _factor(gold, answer)
    return factor is not None and bool(MP.convert(factor).real > 0)


def _factor(gold: tuple[Node, ...], answer: tuple[Node, ...]) -> Number | None:
    """The constant (l1 - r1) / (l2 - r2); None if it is none."""
    sides = [found for side in (*gold, *answer) if (found := evaluated(side)) is not None]
    if len(sides) < 4 or sides[0].symbols | sides[1].symbols != sides[2].symbols | sides[3].symbols:
        return None
    ratios: list[Number] = []
    for left, right, left_given, right_given in zip(*(side.values for side in sides), strict=True):
        above, below = subtract(left, right), subtract(left_given, right_given)
        if same(above, 0) or same(below, 0):
            return None
        ratios.append(arithmetic.divide(above, below))
    return ratios[0] if all(same(ratios[0], ratio) for ratio in ratios[1:]) else None


def _solves(solved: tuple[Node, ...], equation: tuple[Node, ...]) -> bool:
    """Return whether `y = f(x)` is the solution of an equation that is linear in y: 1 / x of x y = 1.

    With g the equation's left side less its right: g(f) = 0, and g(f + 2) = 2 g(f + 1), not 0.
    """
    name, found = solved[0].name, evaluated(solved[1])
    if found is None or solved[0].kind != "symbol" or name in found.symbols:
        return False
    residues: list[list[Number]] = []
    for step in range(3):
        at = tuple(add(value, step) for value in found.values)
        sides = [evaluated(side, {name: at}) for side in equation]
        if sides[0] is None or sides[1] is None:
            return False
        residues.append([subtract(*pair) for pair in zip(sides[0].values, sides[1].values, strict=True)])
    return all(
        same(none, 0) and same(multiply(2, once), twice) and not same(once, 0)
        for none, once, twice in zip(*residues, strict=True)
    )
