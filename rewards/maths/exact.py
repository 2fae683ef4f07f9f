"""Numbers as exact rationals, read by ASCII patterns with caps on their digits.

`Fraction("1e1000000000")` would compute it and `str.isdigit` takes Arabic and superscript digits, hence the
patterns. Text comes in normalised (`rewards.maths.text.normalise`).
"""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 1000  # of a number; int() itself refuses 4,300
MAX_EXPONENT = 400
FLOAT_DIGITS = 12  # significant digits from which a decimal is a printed float, not an approximation

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_NUMBER = rf"[+-]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)"
_INTEGER = r"[+-]?[0-9]+"
NUMBER = re.compile(_NUMBER)
_COMMA_DECIMAL = re.compile(r"([+-]?)([0-9]{4,}|0),([0-9]+)")
_FRACTION = re.compile(rf"([+-]?)\\frac\{{({_NUMBER})\}}\{{({_NUMBER})\}}")
_RATIO = re.compile(rf"([+-]?)\(?({_NUMBER})\)?/\(?({_NUMBER})\)?")
_MIXED = re.compile(r"([+-]?)([0-9]+)(?:\\frac\{([0-9]+)\}\{([0-9]+)\}| ([0-9]+)/([0-9]+))")
_SCIENTIFIC = re.compile(rf"({_NUMBER})(?:(?:\\times|\\cdot|\*)10\^\{{?({_INTEGER})\}}?|[eE]({_INTEGER}))")
_POWER = re.compile(r"([0-9]+)\^(?:\{([+-]?[0-9]+)\}|([0-9]+))")


@dataclass(frozen=True)
class Exact:
    """A number that was written out: its value, and how it was written."""

    value: Fraction
    decimals: int | None = None  # digits after the point; None for an integer or a fraction
    significant: int = 0  # digits from the first that is not 0
    percent: bool = False

    @property
    def is_plain(self) -> bool:
        return not self.percent


def read_number(text: str) -> Exact | None:
    """The number a text is, or None if it is anything else. `3%` is the number 3 with `percent` set."""
    text = text.strip()
    percent = text.endswith("%")
    if percent:
        text = text.rstrip("%\\ ").strip()
    if len(text) > MAX_DIGITS or not text or text[-1] not in "0123456789.})":
        return None
    found = _plain(text.replace(" ", "")) if not _MIXED.fullmatch(text) else _mixed(text)
    if found is None or not percent:
        return found
    return Exact(found.value, found.decimals, found.significant, True)


def _plain(text: str) -> Exact | None:
    match = _COMMA_DECIMAL.fullmatch(text)
    if match and (match[2] != "0" or len(match[3]) >= 3):
        return _decimal(f"{match[1]}{match[2]}.{match[3]}")
    if NUMBER.fullmatch(text):
        return _decimal(text)
    match = _FRACTION.fullmatch(text) or _RATIO.fullmatch(text)
    if match:
        above, below = _decimal(match[2]).value, _decimal(match[3]).value
        return None if below == 0 else Exact(-above / below if match[1] == "-" else above / below)
    if _MIXED.fullmatch(text):
        return _mixed(text)
    match = _SCIENTIFIC.fullmatch(text)
    if match:
        exponent = match[2] or match[3]
        return _scaled(_decimal(match[1]), exponent)
    match = _POWER.fullmatch(text)
    return _power(match[1], match[2] or match[3]) if match else None


def _decimal(text: str) -> Exact:
    digits = text.replace(",", "")
    point = digits.find(".")
    decimals = len(digits) - point - 1 if point >= 0 else None
    significant = len(digits.lstrip("+-").replace(".", "").lstrip("0"))
    if decimals == 0:  # "3." is the end of a sentence
        digits, decimals = digits[:-1], None
    return Exact(
        Fraction(digits if not digits.lstrip("+-").startswith(".") else digits.replace(".", "0.")),
        decimals,
        significant,
    )


def _mixed(text: str) -> Exact | None:
    match = _MIXED.fullmatch(text)
    if match is None:
        return None
    above, below = int(match[3] or match[5]), int(match[4] or match[6])
    if below == 0 or above >= below:
        return None
    value = int(match[2]) + Fraction(above, below)
    return Exact(-value if match[1] == "-" else value)


def _scaled(number: Exact, exponent: str) -> Exact | None:
    if len(exponent) > 4 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return Exact(number.value * Fraction(10) ** int(exponent), None, number.significant)


def _power(base: str, exponent: str) -> Exact | None:
    if len(exponent) > 4 or len(base) * abs(int(exponent)) > MAX_EXPONENT:
        return None
    if int(base) == 0 and int(exponent) <= 0:
        return None
    return Exact(Fraction(int(base)) ** int(exponent))


def same_number(gold: Exact, answer: Exact, *, lenient: bool = False) -> bool:
    """Whether two numbers are equal by the written convention (percent signs are compared before).

    Exactly equal; or the gold is a decimal of 3 significant digits or more and the answer, exact, rounds to it; or
    the answer is an exact gold without end to 12 digits, as a program prints it (lenient: to 3); or they differ by
    float noise (1e-9 relative, 9 decimals or more). Two decimals of different precision differ: 2.23 is not 2.232.
    """
    if gold.value == answer.value:
        return True
    if rounds_to(answer.value, gold, least=3) and answer.decimals is None:
        return True
    if (
        rounds_to(gold.value, answer, least=3 if lenient else FLOAT_DIGITS)
        and gold.decimals is None
        and not _terminates(gold.value)
    ):
        return True
    noise = max(gold.decimals or 0, answer.decimals or 0) >= 9 and not (
        gold.decimals is None and not _terminates(gold.value)
    )
    return noise and abs(gold.value - answer.value) <= abs(gold.value) / 1_000_000_000


def rounds_to(value: Fraction | float, decimal: Exact, *, least: int) -> bool:
    """Whether a value rounded to the places of a decimal is that decimal."""
    if decimal.decimals is None or decimal.significant < least:
        return False
    half = Fraction(1, 2 * 10**decimal.decimals)
    return abs(Fraction(value) - decimal.value) <= half


def _terminates(value: Fraction) -> bool:
    below = value.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return below == 1
