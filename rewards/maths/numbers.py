"""Answers to a gold that is a number: decimals, fractions, percent, clock times, other bases; no sympy."""

import math
import re

from rewards.maths.brackets import bare
from rewards.maths.exact import Exact, read_number, same_number
from rewards.maths.text import split_top
from rewards.maths.wording import is_words, squeeze

_UNEVALUATED = re.compile(
    r"\\(?:i?int|oint|sum|prod|lim|binom|log|ln|sin|cos|tan|cot|max|min|gcd|det|[bp]?mod|times|cdot|pm|lfloor|lceil)"
    r"(?![A-Za-z])"
    r"|[!*|]|(?<=[0-9A-Za-z)}\] ])[+-]|\b(?:log|ln|sin|cos|tan|sum|int|max|min|gcd|mod|factorial|binomial)\b"
)
_UNFINISHED = re.compile(r"\\sqrt|\^(?! ?\{? ?\\circ)")  # of an integer: a root, a power that is no plain number
_COMMAND = re.compile(r"\\text ?\{[^{}]*\}|\\[A-Za-z]+")
_VARIABLE = re.compile(r"(?<![A-Za-z])[a-dfghj-z](?![A-Za-z])")  # all but e and i; in capitals, units
_FRACTION = re.compile(r"[+-]?(?:\\frac\{([0-9]{1,30})\}\{([0-9]{1,30})\}|([0-9]{1,30})/([0-9]{1,30}))")
_CLOCK = re.compile(r"^[0-9]{1,2}:[0-5][0-9]$")
_SUBSCRIPT_BASE = re.compile(r"^([0-9A-F]+)_(?:\{ ?([0-9]+) ?\}|([0-9]+))$")


def as_ratio(text: str) -> str:
    """2:3 as a fraction."""
    parts = split_top(text, ":")
    return rf"\frac{{{parts[0]}}}{{{parts[1]}}}" if len(parts) == 2 and all(parts) else text


def same_numbers(gold: str, answer: str, *, strict: bool) -> bool | None:
    """The verdict where the gold is a number, as far as it needs no sympy."""
    if _CLOCK.match(gold) and _CLOCK.match(answer):
        return gold == answer
    wanted, given = read_number(as_ratio(bare(gold))), read_number(as_ratio(bare(answer)))
    if wanted is not None and given is not None:
        exact = wanted.decimals is None and wanted.value.denominator > 1
        if strict and exact and _unreduced(answer) and not _unreduced(gold):
            return False
        return (
            _same_percent(wanted, given, strict=strict)
            if wanted.percent or given.percent
            else same_number(wanted, given, lenient=not strict)
        )
    bases = _SUBSCRIPT_BASE.match(squeeze(gold)), _SUBSCRIPT_BASE.match(squeeze(answer))
    if bases[0]:
        return (
            squeeze(answer) == bases[0][1]
            if not bases[1]
            else bases[0].groups("") == bases[1].groups("")
            or (bases[0][1] == bases[1][1] and (bases[0][2] or bases[0][3]) == (bases[1][2] or bases[1][3]))
        )
    if bases[1] and wanted is not None:
        return False
    if wanted is not None and is_words(answer):
        return False
    if wanted is not None and strict and _VARIABLE.search(_COMMAND.sub(" ", answer)):
        return False
    if wanted is not None and strict and wanted.value.denominator == 1 and _UNFINISHED.search(answer):
        return False
    if wanted is not None and strict and _UNEVALUATED.search(answer.removeprefix("-").removeprefix("+")):
        if wanted.value.denominator > 1 and wanted.decimals is None:
            return None
        rounded = wanted.decimals is not None and ("\\sqrt" in answer or "\\pi" in answer)
        return None if rounded else False
    return None


def _unreduced(text: str) -> bool:
    """Whether a text is a fraction of integers that can be reduced."""
    match = _FRACTION.fullmatch(squeeze(text))
    return match is not None and math.gcd(int(match[1] or match[3]), int(match[2] or match[4])) > 1


def _same_percent(gold: Exact, answer: Exact, *, strict: bool) -> bool:
    """Gold 28%: 28%, 28, 0.28. Gold 28: 28% only if not strict (the question's percent is dealt with before)."""
    if gold.percent == answer.percent:
        return same_number(gold, answer)
    if gold.percent:
        hundredth = Exact(gold.value / 100, None if gold.decimals is None else gold.decimals + 2, gold.significant)
        if gold.decimals is None:
            hundredth = Exact(gold.value / 100, 2, gold.significant)
        return same_number(gold, answer) or same_number(hundredth, answer)
    if strict:
        return False
    return gold.value in (answer.value, answer.value / 100)
