"""What stands in brackets: tuples, matrices, intervals and the inequalities that mean one."""

import re
from dataclasses import dataclass
from fractions import Fraction

from rewards.maths.exact import read_number
from rewards.maths.text import split_top

_RELATION = re.compile(r"\\leq(?![A-Za-z])|\\geq(?![A-Za-z])|\\neq(?![A-Za-z])|<=|>=|<|>")
_MEMBERSHIP = re.compile(r"^[^=<>,]{1,20}?\\in(?![A-Za-z])")
_LESS = re.compile(r"\\setminus(?![A-Za-z])|\\backslash(?![A-Za-z])|(?<=[})\]]) ?- ?(?=\\\{)")
_REALS = re.compile(r"\\mathbb ?\{? ?R ?\}?|\\R|\\Re")
_UNEQUAL = re.compile(r"[A-Za-z] ?\\neq(?![A-Za-z]) ?(.+)")
_BARS = re.compile(r"\| ?[A-Za-z] ?\|")
_SET_BUILDER = re.compile(r"^\\\{ ?([A-Za-z]) ?(?:\||:|\\in[^|:]*[|:]) ?(.*)\\\}$")
_INFINITY = re.compile(r"^([+-]?) ?(?:\\infty|infty|infinity|inf|oo)$")


def is_round(text: str) -> bool:
    return text.startswith("(") and text.endswith(")")


def tuple_items(text: str) -> list[str] | None:
    """The entries of one (tuple), (pair], [list] or column; None if the text is none."""
    text = text.strip()
    if len(text) < 2 or text[0] not in "([" or text[-1] not in ")]" or not one_group(text):
        return None
    items = split_top(text[1:-1], ",;")
    return items if all(items) else None


def one_group(text: str) -> bool:
    """Whether the bracket that opens a text is closed by its last character."""
    depth = 0
    for at, ch in enumerate(text):
        depth += (ch in "([{") - (ch in ")]}")
        if depth == 0:
            return at == len(text) - 1
    return False


def bare(text: str) -> str:
    """A number without the brackets around it alone: (3), {3}, [3], and without its degree sign."""
    text = text.strip().removesuffix("^\\circ").strip()
    while len(text) > 2 and text[0] in "([{" and text[-1] in ")]}" and "," not in text and one_group(text):
        text = text[1:-1].strip()
    return text


def matrix(text: str) -> list[list[str]] | None:
    text = bare(text) if text.startswith("(\\begin") else text.strip()
    if not (text.startswith("\\begin{matrix}") and text.endswith("\\end{matrix}")):
        return None
    rows = [row.strip() for row in text[14:-12].split("\\\\")]
    return [[cell.strip() for cell in row.split("&")] for row in rows if row]


@dataclass(frozen=True)
class Interval:
    """Ends as text; None = unbounded."""

    low: str | None
    high: str | None
    low_closed: bool
    high_closed: bool


_ALL = Interval(None, None, False, False)


def intervals(text: str) -> list[Interval] | None:
    r"""Return the union of intervals that a text states; None if it states none.

    As brackets, a chain of inequalities in one variable or its absolute value, or a set builder, any of them less
    single points.
    """
    less = _LESS.split(text)
    if len(less) == 2:
        base, points = intervals(less[0].strip()), _points(less[1].strip())
        return None if base is None or points is None else _without(base, points)
    builder = _SET_BUILDER.match(text)
    text = builder[2].strip() if builder else _MEMBERSHIP.sub("", text).strip()
    if _REALS.fullmatch(text):
        return [_ALL]
    parts = [part.strip() for part in re.split(r"\\cup(?![A-Za-z])", text)]
    if len(parts) > 1 or (text[:1] in "([" and text[-1:] in ")]"):
        found = [_bracketed(part) for part in parts]
        return None if any(one is None for one in found) else [one for one in found if one is not None]
    other = _UNEQUAL.fullmatch(text)
    if other and (points := _points(other[1])) is not None:
        return _without([_ALL], points)
    inequality = _inequality(text)
    return None if inequality is None else inequality


def _points(text: str) -> list[str] | None:
    """The numbers of `\\{1, 2\\}` or `1, 2`; None if one is no number."""
    items = split_top(text[2:-2] if text.startswith("\\{") and text.endswith("\\}") else text, ",")
    return items if all(read_number(item) is not None for item in items) else None


def _without(union: list[Interval], points: list[str]) -> list[Interval] | None:
    """The intervals with single points taken out; None if an end is no number, so that the order is unknown."""
    for point in points:
        cut: list[Interval] = []
        at = _value(point)
        for one in union:
            low, high = (None if end is None else _value(end) for end in (one.low, one.high))
            if at is None or (low is None and one.low is not None) or (high is None and one.high is not None):
                return None
            if (low is not None and at < low) or (high is not None and at > high):
                cut.append(one)
                continue
            if low is None or at > low:
                cut.append(Interval(one.low, point, one.low_closed, False))
            if high is None or at < high:
                cut.append(Interval(point, one.high, False, one.high_closed))
        union = cut
    return union


def _value(text: str) -> Fraction | None:
    number = read_number(bare(text))
    return None if number is None else number.value


def _bracketed(text: str) -> Interval | None:
    single = re.fullmatch(r"\\\{([^,{}]+)\\\}", text)
    if single:
        return Interval(single[1].strip(), single[1].strip(), True, True)
    items = tuple_items(text)
    if items is None or len(items) != 2:
        return None
    low, high = (None if _INFINITY.match(end) else end for end in items)
    return Interval(low, high, text[0] == "[" and low is not None, text[-1] == "]" and high is not None)


def _inequality(text: str) -> list[Interval] | None:
    r"""`2 < x \leq 3`, `x > 1`, `5 \geq x`, `|x| < 2`: one variable or its absolute value, alone on its side."""
    relations = [match.group().replace("\\leq", "<=").replace("\\geq", ">=") for match in _RELATION.finditer(text)]
    sides = [side.strip() for side in _RELATION.split(text)]
    if not 1 <= len(relations) <= 2 or "\\neq" in relations or len({relation[0] for relation in relations}) != 1:
        return None
    if relations[0][0] == ">":
        relations, sides = [r.replace(">", "<") for r in reversed(relations)], sides[::-1]
    closed = [relation == "<=" for relation in relations]
    if len(sides) == 3:
        variable, ends = sides[1], [None if _INFINITY.match(side) else side for side in (sides[0], sides[2])]
    elif _is_variable(sides[0].strip("|")) == _is_variable(sides[1].strip("|")):
        return None
    else:
        below = _is_variable(sides[0].strip("|"))
        variable, ends = (sides[0], [None, sides[1]]) if below else (sides[1], [sides[0], None])
        closed = [False, closed[0]] if below else [closed[0], False]
    found = Interval(ends[0], ends[1], closed[0] and ends[0] is not None, closed[1] and ends[1] is not None)
    if _is_variable(variable):
        return [found]
    return _both_sides(found) if _BARS.fullmatch(variable) else None


def _both_sides(size: Interval) -> list[Interval] | None:
    """The values whose absolute value is in an interval: 1 < |x| < 2 is (-2, -1) and (1, 2)."""
    low, high = size.low, size.high
    if low is None and high is not None:
        return [Interval(_minus(high), high, size.high_closed, size.high_closed)]
    if low is None or (_value(low) or 0) < 0:
        return None
    mirrored = Interval(None if high is None else _minus(high), _minus(low), size.high_closed, size.low_closed)
    return [mirrored, size]


def _minus(text: str) -> str:
    return f"-{text}" if not re.search(r"(?<=.)[+-]|^-", text) else f"-({text})"


def _is_variable(text: str) -> bool:
    return re.fullmatch(r"(?:\\?[A-Za-z]+)(?:_(?:\{[^{}]*\}|[A-Za-z0-9]))?(?:\([A-Za-z]\))?", text) is not None


def is_set_builder(text: str) -> bool:
    """Whether a text is `\\{x | ...\\}`."""
    return _SET_BUILDER.match(text) is not None
