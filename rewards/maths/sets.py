"""Sets of real numbers: intervals, unions, set builders and the inequalities that mean one."""

from dataclasses import dataclass
from fractions import Fraction

from rewards.maths.tree import Node
from rewards.maths.values import evaluated


@dataclass(frozen=True)
class Interval:
    """Ends as expressions; None = unbounded."""

    low: Node | None
    high: Node | None
    low_closed: bool
    high_closed: bool


_ALL = Interval(None, None, False, False)
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_VARIABLES = ("symbol", "application", "word")


def intervals(node: Node) -> list[Interval] | None:
    """Return the union of intervals that a tree states; None if it states none."""
    kind = node.kind
    if kind == "symbol":
        return [_ALL] if node.name == "reals" else None
    if kind == "group":
        return _bracketed(node)
    if kind in ("union", "list"):
        if kind == "list" and node.name == "and":
            return _both(*(intervals(part) for part in node.parts)) if len(node.parts) == 2 else None
        if kind == "list" and not (node.name == "or" and all(p.kind in ("relation", "group") for p in node.parts)):
            return None
        found = [_points(part) if part.kind == "set" else intervals(part) for part in node.parts]
        return None if any(one is None for one in found) else [each for one in found if one is not None for each in one]
    if kind == "difference":
        base, points = intervals(node.parts[0]), node.parts[1]
        return None if base is None or points.kind != "set" else _without(base, points.parts)
    if kind == "builder":
        return intervals(node.parts[1]) if len(node.parts) == 2 and _over_reals(node.parts[0]) else None
    return _relation(node) if kind == "relation" else None


def _both(one: list[Interval] | None, other: list[Interval] | None) -> list[Interval] | None:
    """Return one interval for x > 2 and x < 5: bounded below by the one, above by the other."""
    if one is None or other is None or len(one) != 1 or len(other) != 1:
        return None
    below, above = (one[0], other[0]) if one[0].high is None else (other[0], one[0])
    if below.high is not None or above.low is not None:
        return None
    return [Interval(below.low, above.high, below.low_closed, above.high_closed)]


def _points(node: Node) -> list[Interval]:
    return [Interval(part, part, True, True) for part in node.parts]


def _over_reals(member: Node) -> bool:
    return member.kind == "symbol" or (
        member.kind == "relation" and member.name == "in" and member.parts[1] == Node("symbol", (), "reals")
    )


def _bracketed(group: Node) -> list[Interval] | None:
    if len(group.parts) != 2 or len(group.name) != 2:
        return None
    low, high = group.parts
    if is_infinite(high, -1) or is_infinite(low, 1):
        return None
    bounded = not is_infinite(low, -1), not is_infinite(high, 1)
    if (not bounded[0] and group.name[0] == "[") or (not bounded[1] and group.name[1] == "]"):
        return None  # infinity belongs to no interval
    return [
        Interval(
            low if bounded[0] else None, high if bounded[1] else None,
            bounded[0] and group.name[0] == "[", bounded[1] and group.name[1] == "]",
        )
    ]  # fmt: skip


def is_infinite(node: Node, sign: int) -> bool:
    """Return whether an end is infinity with this sign."""
    return node.kind == "infty" if sign > 0 else node.kind == "negative" and node.parts[0].kind == "infty"


def _relation(node: Node) -> list[Interval] | None:
    """`x < 3`, `0 < f(x) <= 1`, `|x| > 2`, `x in S`, `x != 5`: one variable or its absolute value, alone on a side."""
    signs, sides = node.name.split(), list(node.parts)
    if signs == ["in"]:
        return intervals(sides[1])
    if signs == ["!="]:
        return _without([_ALL], (sides[1],)) if sides[0].kind in _VARIABLES else None
    if len(signs) > 2 or len({sign[0] for sign in signs}) != 1 or signs[0] not in _TURNED:
        return None
    if signs[0][0] == ">":
        signs, sides = [_TURNED[sign] for sign in reversed(signs)], sides[::-1]
    ends: list[Node | None] = list(sides)
    if len(sides) == 2 and _variable(sides[0]) != _variable(sides[1]):  # x < 3 as -inf < x < 3
        ends, signs = ([None, *sides], ["<", *signs]) if _variable(sides[0]) else ([*sides, None], [*signs, "<"])
    low, variable, high = ends if len(ends) == 3 else (None, None, None)
    if variable is None:
        return None
    low = None if low is None or is_infinite(low, -1) else low
    high = None if high is None or is_infinite(high, 1) else high
    found = Interval(low, high, signs[0] == "<=" and low is not None, signs[1] == "<=" and high is not None)
    if variable.kind in _VARIABLES:
        return [found]
    return _both_sides(found) if variable.kind == "absolute" and variable.parts[0].kind == "symbol" else None


def _variable(node: Node) -> bool:
    return node.kind in _VARIABLES or (node.kind == "absolute" and node.parts[0].kind == "symbol")


def _both_sides(size: Interval) -> list[Interval] | None:
    """The values whose absolute value is in an interval: 1 < |x| < 2 is (-2, -1) and (1, 2)."""
    low, high = size.low, size.high
    if low is None and high is not None:
        return [Interval(_minus(high), high, size.high_closed, size.high_closed)]
    if low is None or (_value(low) or 0) < 0:
        return None
    mirrored = Interval(None if high is None else _minus(high), _minus(low), size.high_closed, size.low_closed)
    return [mirrored, size]


def _minus(node: Node) -> Node:
    return Node("negative", (node,))


def _value(node: Node) -> Fraction | None:
    found = evaluated(node)
    return None if found is None or found.symbols else found.real


def _without(union: list[Interval], points: tuple[Node, ...]) -> list[Interval] | None:
    """The intervals with single points taken out; None if an end is no number, so that the order is unknown."""
    for taken in points:
        cut: list[Interval] = []
        at = _value(taken)
        for one in union:
            low, high = (None if end is None else _value(end) for end in (one.low, one.high))
            if at is None or (low is None and one.low is not None) or (high is None and one.high is not None):
                return None
            if (low is not None and at < low) or (high is not None and at > high):
                cut.append(one)
                continue
            if low is None or at > low:
                cut.append(Interval(one.low, taken, one.low_closed, False))
            if high is None or at < high:
                cut.append(Interval(taken, one.high, False, one.high_closed))
        union = cut
    return union
