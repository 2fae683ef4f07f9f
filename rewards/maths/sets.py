"""Sets of real numbers: intervals, set builders, the inequalities that mean one, and what is made of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from rewards.algebra.values import real
from rewards.maths.tree import Node, is_infinite


@dataclass(frozen=True)
class Interval:
    """Ends as expressions; None = unbounded."""

    low: Node | None
    high: Node | None
    low_closed: bool = False
    high_closed: bool = False

    @property
    def starts(self) -> tuple[float, int]:
        """The place of the lower end in the order of lower ends; ValueError if it is no number."""
        return (-inf, 1) if self.low is None else (_place(self.low), not self.low_closed)

    @property
    def ends(self) -> tuple[float, int]:
        """The place of the upper end in the order of upper ends."""
        return (inf, -1) if self.high is None else (_place(self.high), self.high_closed - 1)


_ALL = Interval(None, None)
TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_VARIABLES = ("symbol", "application", "word")
Union = list[Interval]


def intervals(node: Node) -> Union | None:
    """Return the union of intervals that a tree states, in order if the ends are numbers; None if it states none."""
    found = _union(node)
    try:
        return _merged(found) if found else None
    except ValueError:
        return found


def _union(node: Node) -> Union | None:
    kind, parts = node.kind, node.parts
    if kind == "symbol":
        return [_ALL] if node.name == "reals" else None
    if kind == "group":
        return _bracketed(node)
    if kind == "set":
        return [Interval(part, part, True, True) for part in parts]
    if kind == "builder":
        reals = parts[0].kind == "symbol" or parts[0].parts[1] == Node("symbol", (), "reals")
        return _union(parts[1]) if len(parts) == 2 and reals else None
    alone = parts if kind == "list" else (node,)
    if (
        alone and (alone[0].kind, alone[0].name) == ("relation", "!=") and alone[0].parts[0].kind in _VARIABLES
    ):  # x != 1, 2
        taken = tuple(part.parts[1] if part.name == "!=" else part for part in alone)
        return _union(Node("difference", (Node("symbol", (), "reals"), Node("set", taken))))
    if kind == "relation":
        return _relation(node)
    relations = all(part.kind == "relation" for part in parts)
    both = kind == "list" and node.name == "and" and len(parts) == 2 and relations  # not two points
    either = kind == "list" and node.name == "or" and all(part.kind in ("relation", "group") for part in parts)
    if kind not in ("union", "difference", "intersection") and not both and not either:
        return None
    sets = [found for part in parts if (found := _union(part)) is not None]
    if len(sets) < len(parts):
        return None
    try:
        if kind == "difference":
            return _common(sets[0], _complement(sets[1]))
        return _common(*sets) if both or kind == "intersection" else [one for found in sets for one in found]
    except ValueError:
        return None


def _common(one: Union, other: Union) -> Union:
    """The intersection of two unions."""
    found = []
    for a in one:
        for b in other:
            if _ALL in (a, b):  # whatever the ends of the other are
                found.append(b if a == _ALL else a)
                continue
            low, high = max(a, b, key=lambda each: each.starts), min(a, b, key=lambda each: each.ends)
            if low.starts <= high.ends:
                found.append(Interval(low.low, high.high, low.low_closed, high.high_closed))
    return found


def _complement(union: Union) -> Union:
    found = [_ALL]
    for one in union:
        below = [] if one.low is None else [Interval(None, one.low, False, not one.low_closed)]
        above = [] if one.high is None else [Interval(one.high, None, not one.high_closed, False)]
        found = _common(found, below + above)
    return found


def _merged(union: Iterable[Interval]) -> Union:
    """The intervals in order, those that touch as one."""
    merged: Union = []
    for one in sorted(union, key=lambda each: each.starts):
        last = merged[-1] if merged else None
        if (
            last is None
            or one.starts[0] > last.ends[0]
            or (one.starts[0] == last.ends[0] and one.starts[1] > last.ends[1] + 1)
        ):
            merged.append(one)
        elif one.ends > last.ends:
            merged[-1] = Interval(last.low, one.high, last.low_closed, one.high_closed)
    return merged


def _place(end: Node) -> float:
    value = real(end)
    if value is None:
        raise ValueError("an end that is no number")
    return float(value)


def _bracketed(group: Node) -> Union | None:
    if len(group.parts) != 2 or len(group.name) != 2:
        return None
    low, high = group.parts
    bounded = not is_infinite(low, -1), not is_infinite(high, 1)
    closed = group.name[0] == "[", group.name[1] == "]"
    if is_infinite(high, -1) or is_infinite(low, 1) or any(c and not b for c, b in zip(closed, bounded, strict=True)):
        return None  # infinity belongs to no interval
    return [Interval(low if bounded[0] else None, high if bounded[1] else None, *closed)]


def _relation(node: Node) -> Union | None:
    """`x < 3`, `0 < f(x) <= 1`, `|x| > 2`, `x in S`: one variable or its absolute value, alone on a side."""
    signs, sides = node.name.split(), list(node.parts)
    if signs == ["in"]:
        return _union(sides[1]) if sides[1].kind != "set" else None
    if len(signs) > 2 or len({sign[0] for sign in signs}) != 1 or signs[0] not in TURNED:
        return None
    if signs[0][0] == ">":
        signs, sides = [TURNED[sign] for sign in reversed(signs)], sides[::-1]
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


def _both_sides(size: Interval) -> Union | None:
    """The values whose absolute value is in an interval: 1 < |x| < 2 is (-2, -1) and (1, 2)."""
    low, high = size.low, size.high
    if low is None and high is not None:
        return [Interval(_minus(high), high, size.high_closed, size.high_closed)]
    if low is None or (real(low) or 0) < 0:
        return None
    mirrored = Interval(None if high is None else _minus(high), _minus(low), size.high_closed, size.low_closed)
    return [mirrored, size]


def _minus(node: Node) -> Node:
    return Node("negative", (node,))
