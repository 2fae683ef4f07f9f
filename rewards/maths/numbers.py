"""Numbers, percentages, bases and times of day: what a tree says as it stands, and when two say the same."""

import math
from fractions import Fraction

from rewards.maths.exact import Exact, rounds_to, same_number, scaled
from rewards.maths.tree import Node
from rewards.maths.values import evaluated

MAX_POWER = 400  # digits of an integer power that is taken for a plain number: 10^6
HALVES = frozenset({"am", "pm"})


def plain_number(node: Node) -> Exact | None:
    """The number that a tree is as it stands: digits, a sign, a fraction of numbers, a mixed number, 3 * 10^5, 10^6."""
    kind, parts = node.kind, node.parts
    if kind == "number":
        return node.number
    if kind == "negative":
        inner = plain_number(parts[0])
        return None if inner is None else Exact(-inner.value, inner.decimals, inner.significant)
    if kind in ("quotient", "ratio") and len(parts) == 2:
        above, below = plain_number(parts[0]), plain_number(parts[1])
        if above is None or below is None or not below.value or "power" in (parts[0].kind, parts[1].kind):
            return None
        return Exact(above.value / below.value)
    if kind == "power" and parts[0].kind == "number":
        return plain_power(parts[0], parts[1])
    if kind == "product" and len(parts) == 2 and parts[1].kind == "power":
        factor, power = plain_number(parts[0]), plain_number(parts[1])
        base = parts[1].parts[0].number
        if factor is not None and power is not None and base is not None and base.value == 10:
            return scaled(factor, power.value)
    return None


def plain_power(base: Node, exponent: Node) -> Exact | None:
    value, power = plain_number(base), plain_number(exponent)
    if value is None or power is None or value.value.denominator != 1 or power.value.denominator != 1:
        return None
    if len(str(value.value)) * abs(power.value) > MAX_POWER or (value.value == 0 and power.value <= 0):
        return None
    return Exact(value.value ** int(power.value))


def has_variable(node: Node) -> bool:
    return any(part.kind in ("symbol", "application", "word") and part.name not in ("e", "i") for part in node.walk())


def unreduced(node: Node) -> bool:
    """Return whether a tree is a fraction of integers that can be reduced."""
    if node.kind == "negative":
        return unreduced(node.parts[0])
    if node.kind not in ("quotient", "ratio") or len(node.parts) != 2:
        return False
    parts = [plain_number(part) for part in node.parts]
    values = [part.value for part in parts if part is not None and part.value.denominator == 1]
    return len(values) == 2 and math.gcd(int(values[0]), int(values[1])) > 1


def same_percent(gold: Exact, answer: Exact, percents: tuple[bool, bool], *, strict: bool) -> bool:
    """Gold 28%: 28%, 28, 0.28. Gold 0.28: not 28% (a question that asks for percent is dealt with before)."""
    if percents[0] and percents[1]:
        return same_number(gold, answer, lenient=not strict)
    if percents[0]:
        places = 2 if gold.decimals is None else gold.decimals + 2
        hundredth = Exact(gold.value / 100, places, gold.significant)
        return same_number(gold, answer) or same_number(hundredth, answer)
    return False


def rounds_to_percent(gold: Exact, answer: Node) -> bool:
    """Gold 41.4%: sqrt(2) - 1."""
    value = real(answer)
    hundredth = Exact(gold.value / 100, (gold.decimals or 0) + 2, gold.significant)
    return value is not None and (value == hundredth.value or rounds_to(value, hundredth, least=3))


def same_based(gold: Node, answer: Node) -> bool:
    """52_8 is 52_8; the digits alone will do; 25_{10} is 25."""
    if gold.kind == answer.kind:
        return False  # equal ones are equal trees
    based, other = (gold, answer) if gold.kind == "based" else (answer, gold)
    number = plain_number(other)
    digits, _, base = based.name.partition("_")
    return number is not None and digits == str(number.value) and (based is gold or base == "10")


def clock(node: Node) -> tuple[int, ...] | None:
    """The parts of a time of day: 8:34, 4:51:06; None if it is none, as 2:1."""
    if node.number is not None and node.number.value.denominator == 1 and 0 < node.number.value <= 12:  # 9 a.m.
        return int(node.number.value), 0
    numbers = [part.number for part in node.parts if part.number is not None and part.number.value.denominator == 1]
    if node.kind != "ratio" or len(numbers) != len(node.parts) or len(numbers) > 3:
        return None
    return tuple(int(number.value) for number in numbers) if numbers[1].value < 60 else None


# Structure


def same_time(gold: Node, answer: Node) -> bool:
    """Times of day: 8:34 p.m. is 20:34, and 8:34 where only one says which half of the day."""
    halves = [node.name if node.kind == "quantity" else "" for node in (gold, answer)]
    clocks = [clock(node.parts[0] if node.kind == "quantity" else node) for node in (gold, answer)]
    if clocks[0] is None or clocks[1] is None or not set(halves) <= {"", *HALVES} or not any(halves):
        return False
    if "" in halves and clocks[0] == clocks[1]:
        return True
    hours = [
        (clock[0] % 12 + 12 * (half == "pm") if half else clock[0], *clock[1:])
        for clock, half in zip(clocks, halves, strict=True)
        if clock is not None
    ]
    return hours[0] == hours[1]


def real(node: Node) -> Fraction | None:
    found = evaluated(node)
    return None if found is None or found.symbols else found.real
