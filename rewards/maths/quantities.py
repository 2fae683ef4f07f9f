"""Single values: numbers by the written conventions, units, times of day, and expressions by value."""

import math
from abc import ABC, abstractmethod

from rewards.algebra.values import Evaluated, evaluated, point, real, same_values
from rewards.maths.exact import FLOAT_DIGITS, Exact, rounds_to, same_number, scaled
from rewards.maths.tree import Node, without
from rewards.maths.words import PHYSICAL, UNITS, plain

MAX_POWER = 400  # digits of an integer power that is taken for a plain number: 10^6
_HALVES = frozenset({"am", "pm"})
_COUNTERS = frozenset({"k", "n", "m", "l"})


class Quantities(ABC):
    """Comparison of single values; `Comparison` adds what is built of them.

    Args:
        strict: the profile.
        words: the question's words.
    """

    def __init__(self, *, strict: bool = True, words: frozenset[str] = frozenset()) -> None:
        self.strict, self.words = strict, words

    @abstractmethod
    def _same_value(self, gold: Node, answer: Node) -> bool:
        """Return whether two values are the same, whatever they are."""

    def _same_quantity(self, gold: Node, answer: Node) -> bool:
        """Values with units: those must agree where both have one, and the answer's must be known or the question's."""
        units = [node.name if node.kind == "quantity" else "" for node in (gold, answer)]
        if _HALVES & set(units):
            return same_time(gold, answer)
        if units[0] and units[1]:
            return same_unit(*units, strict=self.strict) and self._same_value(*without("quantity", gold, answer))
        one = gold if units[0] else answer
        if {gold.kind, answer.kind} == {"quantity", "degrees"}:
            return False
        if len(one.parts) > 1 and one.name not in self.words:  # "7 m" without a word of metres: 7 times m
            product = Node("product", one.parts)
            return self._same_value(product, answer) if units[0] else self._same_value(gold, product)
        if units[1] and not may_stand(units[1], self.words, strict=self.strict):
            return False
        return self._same_value(*without("quantity", gold, answer))

    def _same_degrees(self, gold: Node, answer: Node) -> bool:
        """Degrees are a unit that may be left out; against an angle in pi they are pi / 180."""
        bare = without("degrees", gold, answer)
        has_pi = [any(part.kind == "pi" or part.name.startswith("arc") for part in node.walk()) for node in bare]
        if gold.kind != answer.kind and has_pi[0] != has_pi[1]:
            values = evaluated(gold, degrees=True), evaluated(answer, degrees=True)
            return values[0] is not None and values[1] is not None and same_values(values[0], values[1])
        return self._same_value(bare[0], bare[1])

    def _same_numbers(self, gold: Node, answer: Node) -> bool | None:
        """The verdict where the gold is a number; None if it is none, or if values have to tell."""
        percents = gold.kind == "percent", answer.kind == "percent"
        bare = without("percent", gold, answer)
        if gold.kind == "based" or answer.kind == "based":
            return same_based(gold, answer)
        if gold.kind == "ratio" or answer.kind == "ratio":
            ratio = self._same_ratio(gold, answer)
            if ratio is not None:
                return ratio
        wanted, given = plain_number(bare[0]), plain_number(bare[1])
        if wanted is None:
            return None
        if given is not None:
            exact = wanted.decimals is None and wanted.value.denominator > 1
            if exact and unreduced(bare[1]) and not unreduced(bare[0]):
                return False
            if any(percents):
                return same_percent(wanted, given, percents, strict=self.strict)
            return same_number(wanted, given, lenient=not self.strict)
        if any(percents):
            return percents[0] and rounds_to_percent(wanted, bare[1])
        if answer.kind in ("word", "set", "emptyset", "infty", "absolute") or has_variable(answer):
            return None if answer.kind == "absolute" and not self.strict else False
        if self.strict and (wanted.decimals is not None or wanted.value.denominator == 1):
            rounded = wanted.decimals is not None and any(part.kind in ("root", "pi") for part in answer.walk())
            return None if rounded else False
        return None

    def _same_ratio(self, gold: Node, answer: Node) -> bool | None:
        """3:4, times of day (8:34), and ratios as fractions; None if values have to tell."""
        clocks = clock(gold), clock(answer)
        if clocks[0] is not None and clocks[1] is not None:
            return clocks[0] == clocks[1]
        if gold.kind == answer.kind:
            lengths = len(gold.parts), len(answer.parts)
            same = lengths[0] == lengths[1] and all(map(self._same_value, gold.parts, answer.parts))
            if same or self.strict or lengths != (2, 2):
                return same
        other = plain_number(answer if gold.kind == "ratio" else gold)
        return False if gold.kind != answer.kind and other is not None and other.value.denominator == 1 else None

    def _same_expression(self, gold: Node, answer: Node) -> bool:
        """Two expressions by value; a decimal by the rounding convention."""
        if has_work(answer) and not has_work(gold):  # a sum or an integral is to be worked out
            return False
        wanted, given = evaluated(gold), evaluated(answer)
        if wanted is None or given is None:
            return False
        mine, theirs = wanted.symbols - given.symbols, given.symbols - wanted.symbols
        if len(mine) == len(theirs) == 1 and mine | theirs <= _COUNTERS and any(n.kind == "pi" for n in gold.walk()):
            again = evaluated(answer, dict(zip(theirs, map(point, mine), strict=True)))  # pi/6 + k pi and pi/6 + n pi
            return again is not None and same_values(wanted, again)
        numbers = not wanted.symbols and not given.symbols
        return same_values(wanted, given) or (numbers and self._rounded(gold, wanted, answer, given))

    def _rounded(self, gold: Node, wanted: Evaluated, answer: Node, given: Evaluated) -> bool:
        """Return whether one side is a decimal and the other, irrational, rounds to it."""
        least = FLOAT_DIGITS if self.strict else 3
        for node, other, digits in ((gold, given, 3), (answer, wanted, least)):
            decimal, value = plain_number(node), other.real
            if decimal is not None and value is not None and not other.rational:
                return rounds_to(value, decimal, least=digits)
        return False


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


def same_time(gold: Node, answer: Node) -> bool:
    """Times of day: 8:34 p.m. is 20:34, and 8:34 where only one says which half of the day."""
    halves = [node.name if node.kind == "quantity" else "" for node in (gold, answer)]
    clocks = [clock(node) for node in without("quantity", gold, answer)]
    if clocks[0] is None or clocks[1] is None or not set(halves) <= {"", *_HALVES} or not any(halves):
        return False
    if "" in halves and clocks[0] == clocks[1]:
        return True
    hours = [
        (clock[0] % 12 + 12 * (half == "pm") if half else clock[0], *clock[1:])
        for clock, half in zip(clocks, halves, strict=True)
        if clock is not None
    ]
    return hours[0] == hours[1]


def has_work(node: Node) -> bool:
    """Return whether a sum or an integral is left to work out."""
    return any(part.kind == "bound" for part in node.walk())


def same_unit(gold: str, answer: str, *, strict: bool) -> bool:
    if gold == answer:
        return True
    names = [{word.partition("^")[0] for word in unit.split()} for unit in (gold, answer)]
    if names[0] | names[1] <= PHYSICAL | {"per", "square", "cubic"}:
        return False
    return bool(set(plain(gold).split()) & set(plain(answer).split())) or not strict


def may_stand(unit: str, words: frozenset[str], *, strict: bool) -> bool:
    """Return whether each word of a unit is a known unit's or the question's; lenient: or it ends in a plural."""
    bare = [word.partition("^")[0] for word in unit.split()]
    known = all(word in UNITS or word in PHYSICAL or word in words for word in bare)
    return known or (not strict and bare[-1][3:].endswith("s"))
