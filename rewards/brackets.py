"""What stands in brackets: tuples, matrices, intervals and the inequalities that mean one."""

import re
from dataclasses import dataclass

from rewards.math_text import split_top

_RELATION = re.compile(r"\\leq(?![A-Za-z])|\\geq(?![A-Za-z])|\\neq(?![A-Za-z])|<=|>=|<|>")
_MEMBERSHIP = re.compile(r"^[^=<>,]{1,20}?\\in(?![A-Za-z])")
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


def intervals(text: str) -> list[Interval] | None:
    r"""A union of intervals: brackets, a chain of inequalities in one variable, a set builder; None if it is none."""
    builder = _SET_BUILDER.match(text)
    text = builder[2].strip() if builder else _MEMBERSHIP.sub("", text).strip()
    parts = [part.strip() for part in re.split(r"\\cup(?![A-Za-z])", text)]
    if len(parts) > 1 or (text[:1] in "([" and text[-1:] in ")]"):
        found = [_bracketed(part) for part in parts]
        return None if any(one is None for one in found) else [one for one in found if one is not None]
    inequality = _inequality(text)
    return None if inequality is None else [inequality]


def _bracketed(text: str) -> Interval | None:
    single = re.fullmatch(r"\\\{([^,{}]+)\\\}", text)
    if single:
        return Interval(single[1].strip(), single[1].strip(), True, True)
    items = tuple_items(text)
    if items is None or len(items) != 2:
        return None
    low, high = (None if _INFINITY.match(end) else end for end in items)
    return Interval(low, high, text[0] == "[" and low is not None, text[-1] == "]" and high is not None)


def _inequality(text: str) -> Interval | None:
    r"""`2 < x \leq 3`, `x > 1`, `5 \geq x`: one variable, alone on its side."""
    relations = [match.group().replace("\\leq", "<=").replace("\\geq", ">=") for match in _RELATION.finditer(text)]
    sides = [side.strip() for side in _RELATION.split(text)]
    if not 1 <= len(relations) <= 2 or "\\neq" in relations or len({relation[0] for relation in relations}) != 1:
        return None
    if relations[0][0] == ">":
        relations, sides = [r.replace(">", "<") for r in reversed(relations)], sides[::-1]
    closed = [relation == "<=" for relation in relations]
    if len(sides) == 3 and _is_variable(sides[1]):
        ends = [None if _INFINITY.match(side) else side for side in (sides[0], sides[2])]
        return Interval(ends[0], ends[1], closed[0] and ends[0] is not None, closed[1] and ends[1] is not None)
    if len(sides) == 2 and _is_variable(sides[0]) and not _is_variable(sides[1]):
        return Interval(None, sides[1], False, closed[0])
    if len(sides) == 2 and _is_variable(sides[1]) and not _is_variable(sides[0]):
        return Interval(sides[0], None, closed[0], False)
    return None


def _is_variable(text: str) -> bool:
    return re.fullmatch(r"(?:\\?[A-Za-z]+)(?:_(?:\{[^{}]*\}|[A-Za-z0-9]))?(?:\([A-Za-z]\))?", text) is not None


def is_set_builder(text: str) -> bool:
    """Whether a text is `\\{x | ...\\}`."""
    return _SET_BUILDER.match(text) is not None
