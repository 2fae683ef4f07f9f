"""Numbers as exact rationals, with how they were written, and when two of them are the same."""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 1000  # of a number; int() itself refuses 4,300
MAX_EXPONENT = 400
FLOAT_DIGITS = 12  # significant digits from which a decimal is a printed float, not an approximation
_COMMA_DECIMAL = re.compile(r"(?:0,[0-9]{3,}|[0-9]{4,},[0-9]+)")
_NO_DIGIT = re.compile(r"[^0-9.]")


@dataclass(frozen=True)
class Exact:
    """A number that was written out: its value, and how it was written."""

    value: Fraction
    decimals: int | None = None  # digits after the point; None for an integer or a fraction
    significant: int = 0  # digits from the first that is not 0


def decimal(text: str) -> Exact:
    """The number of a token: digits, separators of thousands, a point, an exponent. ArithmeticError if too long."""
    if len(text) > MAX_DIGITS:
        raise ArithmeticError("too many digits")
    if text.isdecimal():
        return Exact(Fraction(int(text)), None, len(text.lstrip("0")))
    digits, _, exponent = text.lower().partition("e")
    digits = digits.replace(",", ".") if _COMMA_DECIMAL.fullmatch(digits) else _NO_DIGIT.sub("", digits)
    whole, point, after = digits.partition(".")
    significant = len((whole + after).lstrip("0"))
    value = Fraction(int(whole or "0") * 10 ** len(after) + int(after or "0"), 10 ** len(after))
    if exponent:
        if abs(int(exponent)) > MAX_EXPONENT:
            raise ArithmeticError("too large an exponent")
        return scaled(Exact(value, len(after) if point else None, significant), Fraction(10) ** int(exponent))
    return Exact(value, len(after) if point else None, significant)


def repeating(before: str, period: str) -> Exact:
    r"""0.1\overline{6}: the digits before the period, and the period."""
    if len(before) + len(period) > MAX_DIGITS:
        raise ArithmeticError("too many digits")
    start = decimal(before.rstrip(".") if before.endswith(".") else before)
    places = start.decimals or 0
    return Exact(start.value + Fraction(int(period), (10 ** len(period) - 1) * 10**places))


def scaled(number: Exact, factor: int | Fraction) -> Exact:
    """A number times a power of ten or the like; 2.31 * 10^-3 is still a decimal of five places."""
    places = -1
    if number.decimals is not None and factor > 0:
        places = (
            number.decimals + len(str(Fraction(1, 1) / factor)) - 1
            if factor < 1
            else number.decimals - len(str(factor)) + 1
        )
    return Exact(number.value * factor, places if places >= 0 else None, number.significant)


def same_number(gold: Exact, answer: Exact, *, lenient: bool = False) -> bool:
    """Return whether two numbers are equal by the written convention (percent signs are compared before).

    Exactly equal; or the gold is a decimal of 3 significant digits or more and the answer, exact, rounds to it; or
    the answer is an exact gold without end to 12 digits, as a program prints it (lenient: to 3); or they differ by
    float noise (1e-9 relative, in 12 digits or more). Two decimals of different precision differ: 2.23 is not 2.232.
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
    printed = any(one.significant >= FLOAT_DIGITS and (one.decimals or 0) >= 6 for one in (gold, answer))
    noise = printed and (gold.decimals is not None or _terminates(gold.value))
    return noise and abs(gold.value - answer.value) <= abs(gold.value) / 1_000_000_000


def rounds_to(value: Fraction | float, decimal: Exact, *, least: int) -> bool:
    """Return whether a value rounded to the places of a decimal is that decimal."""
    if decimal.decimals is None or decimal.significant < least:
        return False
    half = Fraction(1, 2 * 10**decimal.decimals)
    return abs(Fraction(value) - decimal.value) <= half


def _terminates(value: Fraction) -> bool:
    return pow(10, value.denominator.bit_length(), value.denominator) == 0
