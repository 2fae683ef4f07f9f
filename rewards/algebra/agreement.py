"""Ordinary algebra compared by value, without sympy.

Two expressions that agree at random points are equal, two that differ at one are not (Schwartz 1980, Zippel 1979).

What floats can't tell, and all that is no plain expression (sums, limits, sets, relations, text), is left to sympy:
the verdict is None. About fifteen times faster than a parser of all of LaTeX. Runs in the worker.
"""

from fractions import Fraction

from rewards.algebra.expression import GREEK, Evaluated, evaluated
from rewards.algebra.points import (
    POINTS,
    Number,
    Values,
    add,
    constant,
    difference,
    divide,
    each,
    exact,
    magnitude,
    multiply,
)

AGREE, DIFFER = 1e-11, 1e-8  # relative; between them the verdict is open


def same_values(gold: Evaluated, answer: Evaluated) -> bool | None:
    """Whether two expressions agree at all points; None if some agree and some don't, or it can't be told."""
    count = POINTS if gold.bars or answer.bars else POINTS - 1
    verdicts = {_same(gold.values[at], answer.values[at]) for at in range(count)}
    return verdicts.pop() if len(verdicts) == 1 else None


def same_equation(gold: tuple[str, str], answer: tuple[str, str]) -> bool | None:
    """Whether two equations are multiples of each other, or one is the other solved; None if that can't be told."""
    factor = _factor(gold, answer)
    return (
        True if isinstance(factor, Number) else (_solves(answer, gold) or _solves(gold, answer)) if factor else factor
    )


def same_inequality(gold: tuple[str, str], answer: tuple[str, str]) -> bool | None:
    """Whether two inequalities, both `left < right` or both `left <= right`, are positive multiples of each other."""
    factor = _factor(gold, answer)
    if not isinstance(factor, Number):
        return None if factor is None else False
    return complex(factor).real > 0


def _factor(gold: tuple[str, str], answer: tuple[str, str]) -> Number | bool | None:
    """The constant (l1 - r1) / (l2 - r2); True if it is none, False if the symbols differ, None if it can't be told."""
    sides = [evaluated(text) for text in (*gold, *answer)]
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
    verdicts = {_same(ratios[0], ratio) for ratio in ratios[1:]}
    return ratios[0] if verdicts == {True} else None if None in verdicts else True


def _solves(solved: tuple[str, str], equation: tuple[str, str]) -> bool:
    """Whether `y = f(x)` is the solution of an equation that is linear in y: 1 / x of x y = 1.

    With g the equation's left side less its right: g(f) = 0, and g(f + 2) = 2 g(f + 1), not 0.
    """
    name, root = solved[0].strip(), evaluated(solved[1])
    if root is None or not (len(name) == 1 or name[1:] in GREEK) or name in root.symbols:
        return False
    residues: list[Values] = []
    for step in range(3):
        at = each(add, root.values, constant(Fraction(step)))
        sides = [evaluated(text, name, at) for text in equation]
        if sides[0] is None or sides[1] is None:
            return False
        residues.append(each(difference, sides[0].values, sides[1].values))
    zero = all(magnitude(value) < AGREE for value in residues[0])
    linear = all(_same(multiply(Fraction(2), once), twice) for once, twice in zip(*residues[1:], strict=True))
    return zero and linear and all(magnitude(value) > AGREE for value in residues[1])


def _same(one: Number, other: Number) -> bool | None:
    if exact(one, other):
        return one == other
    try:
        sizes, apart = (magnitude(one), magnitude(other)), magnitude(difference(one, other))
    except OverflowError:
        return None
    if min(sizes) < 1e-9:  # what remains of floats that cancel
        return False if max(sizes) > 1e-3 else None
    return True if apart <= AGREE * max(sizes) else False if apart > DIFFER * max(sizes) else None
