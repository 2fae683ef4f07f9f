"""Exact arithmetic on text a model wrote: digits, + - * / and parentheses, read by a shunting-yard, never by eval."""

import re
from fractions import Fraction

LONGEST = 200
TOKEN = re.compile(r"([0-9]{1,9})|([-+*/()])")
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


class ExpressionError(ValueError):
    """The text is no expression of whole numbers with + - * / and parentheses, or divides by zero."""


def tokens(text: str) -> list[str]:
    """Numbers and signs of an expression of at most 200 characters, spaces dropped."""
    if len(text) > LONGEST:
        raise ExpressionError(f"longer than {LONGEST} characters")
    found, at = [], 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        match = TOKEN.match(text, at)
        if match is None or (match[1] and text[match.end() : match.end() + 1].isdecimal()):
            raise ExpressionError(f"unexpected {text[at]!r}")
        found.append(match[0])
        at = match.end()
    return found


def evaluate(text: str) -> tuple[Fraction, list[int]]:
    """The exact value of an expression and the numbers it uses, in order. There is no unary minus."""
    values: list[Fraction] = []
    signs: list[str] = []
    numbers: list[int] = []
    operand_next = True
    for token in tokens(text):
        if operand_next and token == "(":
            signs.append(token)
        elif operand_next and token.isdecimal():
            numbers.append(int(token))
            values.append(Fraction(numbers[-1]))
            operand_next = False
        elif not operand_next and token in PRECEDENCE:
            while signs and PRECEDENCE.get(signs[-1], 0) >= PRECEDENCE[token]:
                _apply(signs.pop(), values)
            signs.append(token)
            operand_next = True
        elif not operand_next and token == ")":
            while signs and signs[-1] != "(":
                _apply(signs.pop(), values)
            if not signs:
                raise ExpressionError("a parenthesis is closed that was not opened")
            signs.pop()
        else:
            raise ExpressionError(f"unexpected {token!r}")
    if operand_next or "(" in signs:
        raise ExpressionError("ends too early")
    while signs:
        _apply(signs.pop(), values)
    return values[0], numbers


def _apply(sign: str, values: list[Fraction]) -> None:
    right, left = values.pop(), values.pop()
    if sign == "/" and right == 0:
        raise ExpressionError("divides by zero")
    values.append({"+": left.__add__, "-": left.__sub__, "*": left.__mul__, "/": left.__truediv__}[sign](right))
