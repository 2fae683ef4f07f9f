"""The share of a completion's written sums that hold: a small, dense reward for arithmetic worked out in text.

`6 * 8 = 48` is one. It says nothing about the answer, and true but idle sums are easily written: give it a small
weight beside `accuracy`, never alone. Useful where every sample of a group is still wrong and accuracy alone teaches
nothing.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from rewards.base import Completion, Reward, completion_text

NUMBER = r"(\d{1,9}(?:\.\d{1,6})?)"  # digits are capped: no number costs more than another
EQUATION = re.compile(rf"(?<![\d.]){NUMBER} ?([-+*/x×÷]) ?{NUMBER} ?= ?\$?{NUMBER}(?!\d)", re.ASCII)


def equations() -> Reward:
    """1.0 where all written sums hold, 0.0 where none does; None where there is none."""

    def reward(prompts: Sequence[Completion], completions: Sequence[Completion], **_: Any) -> list[float | None]:
        return [_share(completion_text(completion)) for completion in completions]

    reward.__name__ = "equations"
    return reward


def _share(text: str) -> float | None:
    found = [_holds(*match.groups()) for match in EQUATION.finditer(text)]
    return sum(found) / len(found) if found else None


def _holds(left: str, sign: str, right: str, result: str) -> bool:
    a, b, c = Fraction(left), Fraction(right), Fraction(result)
    if sign in "/÷":
        return b != 0 and a == b * c
    return c == {"+": a + b, "-": a - b}.get(sign, a * b)
