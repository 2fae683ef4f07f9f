r"""Words around an answer that don't change it, and words that make it no answer.

The former are units, the thing counted and "for all x".

`3\text{ cm}` is 3, `3\text{ (or maybe 4)}` is not: only known units and words of the question are dropped, and only
where nothing but such words is said.
"""

import re
from collections.abc import Callable

from rewards.maths.brackets import one_group
from rewards.maths.exact import read_number
from rewards.maths.text import split_top


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


UNITS = _word_set(
    """
    m cm mm km dm nm ft feet foot inch inches yd yard yards mile miles meter meters metre metres kilometer kilometers
    kilometre kilometres centimeter centimeters centimetre centimetres millimeter millimeters g kg mg gram grams
    kilogram kilograms lb lbs pound pounds ounce ounces oz ton tons tonne tonnes liter liters litre litres ml mL L
    gallon gallons quart quarts pint pints cup cups s sec second seconds min minute minutes h hr hour hours day days
    week weeks month months year years am pm mph kmh kph degree degrees deg rad radian radians dollar dollars cent
    cents usd euro euros yuan rupees pesos yen square sq cubic cu unit units per people persons students apples coins
    ways numbers points sides times pieces items steps papers bins rooms Hz kHz N J W V A K C F Pa kPa mol
    """
)
_HEDGES = _word_set(
    """
    or any maybe perhaps possibly either not unless about approximately around roughly anything everything all none
    unknown no neither between more less than least most up
    """
)
_FILLERS = _word_set("only exactly in total altogether the of a each is")
_TEXT = re.compile(r"\\text ?\{([^{}]*)\}(?: ?\^ ?\{?[23]\}?)?")
_TRAILING = re.compile(r"(?<=[0-9}%)]) ?([A-Za-z][A-Za-z./ ]*)(?:\^ ?\{?[23]\}?)?$")
_QUALIFIER = re.compile(r"[, ]*\\text ?\{ ?,? ?(?:for|where) (?:all|every|each|any)[^{}]*\}.*$|[, ]*\\quad.*$")
_MONEY = re.compile(r"^[$€£¥₹] ?(?=[0-9.])|(?<=[0-9]) ?[$€£¥₹]$")
_WORD = re.compile(r"[A-Za-z]+")


def words_of(text: str) -> frozenset[str]:
    """The words of a question, lower case: what an answer may be counted in."""
    return frozenset(word.lower() for word in _WORD.findall(text[:20_000]) if len(word) > 1) - _HEDGES


def without_units(text: str, known: frozenset[str] = frozenset(), *, any_words: bool = False) -> str:
    """The normalised answer without units.

    Args:
        text: normalised.
        known: words of the question.
        any_words: drop any words that are no hedges (lenient, and for the gold).
    """
    if not any("0" <= ch <= "9" for ch in text) and "\\text" not in text:
        return text
    text = _MONEY.sub("", _QUALIFIER.sub("", text)).strip()

    def droppable(words: list[str]) -> bool:
        lowered = [word.lower() for word in words]
        if any(word in _HEDGES for word in lowered):
            return False
        return any_words or all(
            word in UNITS or word.lower() in UNITS or word.lower() in known or word.lower() in _FILLERS
            for word in words
        )

    def in_braces(match: re.Match[str]) -> str:
        content = match[1]
        words = _WORD.findall(content)
        joint = [word for word in words if word.lower() == "and"]
        rest = [word for word in words if word.lower() != "and"]
        if any(ch in content for ch in "0123456789()?!:") or not droppable(rest):
            return match.group()
        return " , " if joint else " "

    if "\\text" in text and (_TEXT.sub("", text).strip(" .,") or any_words):
        stripped = _TEXT.sub(in_braces, text).strip(" ,.")
        text = stripped or text
    if text[-1:] in ("}", ")", "]") and one_group(text.removeprefix("\\")) and "," in text:  # {35 cm, 4}, (3 m, 4 m)
        opening, closing = (2, 2) if text.startswith("\\{") else (1, 1)
        inside = split_top(text[opening:-closing], ",;")
        text = text[:opening] + ", ".join(_without_trailing(item, droppable) for item in inside) + text[-closing:]
    items = [_without_trailing(item, droppable) for item in split_top(text, ",;")]
    return " ".join(", ".join(items).split()) if len(items) > 1 else " ".join(items[0].split())


def _without_trailing(item: str, droppable: Callable[[list[str]], bool]) -> str:
    """`28 days` as 28. One letter may be a variable (3m), so it stays unless it stands in `\\text`."""
    trailing = _TRAILING.search(item)
    words = _WORD.findall(trailing[1]) if trailing else []
    if not words or any(len(word) == 1 for word in words) or not droppable(words):
        return item
    before = item[: item.rindex(trailing[1])].strip() if trailing else ""
    return before if read_number(before.rpartition("=")[2].rpartition(":")[2]) is not None else item
