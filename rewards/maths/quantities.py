"""Values with units, numbers by the written conventions, and expressions by value."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from rewards.maths.exact import FLOAT_DIGITS, rounds_to, same_number
from rewards.maths.numbers import (
    HALVES,
    clock,
    has_variable,
    plain_number,
    rounds_to_percent,
    same_based,
    same_percent,
    same_time,
    unreduced,
)
from rewards.maths.points import Values
from rewards.maths.tree import Node
from rewards.maths.units import may_stand, same_unit
from rewards.maths.values import Evaluated, evaluated, point, same_values

_COUNTERS = frozenset({"k", "n", "m", "l"})


class Undecided(Exception):
    """Values can't tell; the worker has to."""


class Quantities(ABC):
    """Comparison of single values; `Comparison` adds what is built of them.

    Args:
        strict: the profile.
        words: the question's words.
        expression: who judges what values can't tell; without it, Undecided is raised.
    """

    def __init__(
        self,
        *,
        strict: bool = True,
        words: frozenset[str] = frozenset(),
        expression: Callable[[Node, Node], bool] | None = None,
    ) -> None:
        self.strict, self.words, self.expression = strict, words, expression

    @abstractmethod
    def _same_value(self, gold: Node, answer: Node) -> bool:
        """Return whether two values are the same, whatever they are."""

    def _same_quantity(self, gold: Node, answer: Node) -> bool:
        """Values with units: those must agree where both have one, and the answer's must be known or the question's."""
        units = [node.name if node.kind == "quantity" else "" for node in (gold, answer)]
        if HALVES & set(units):
            return same_time(gold, answer)
        if units[0] and units[1]:
            return same_unit(units[0], units[1], strict=self.strict) and self._same_unitless(gold, answer)
        one = gold if units[0] else answer
        if {gold.kind, answer.kind} == {"quantity", "degrees"}:
            return False
        if len(one.parts) > 1 and one.name not in self.words:  # "7 m" without a word of metres: 7 times m
            product = Node("product", one.parts)
            return self._same_value(product, answer) if units[0] else self._same_value(gold, product)
        if units[1] and self.strict and not may_stand(units[1], self.words):
            return False
        return self._same_unitless(gold, answer)

    def _same_unitless(self, gold: Node, answer: Node) -> bool:
        gold, answer = (node.parts[0] if node.kind == "quantity" else node for node in (gold, answer))
        return self._same_value(gold, answer)

    def _same_degrees(self, gold: Node, answer: Node) -> bool:
        """Degrees are a unit that may be left out; against an angle in pi they are pi / 180."""
        bare = [node.parts[0] if node.kind == "degrees" else node for node in (gold, answer)]
        has_pi = [any(part.kind == "pi" or part.name.startswith("arc") for part in node.walk()) for node in bare]
        if gold.kind != answer.kind and has_pi[0] != has_pi[1]:
            values = evaluated(gold, degrees=True), evaluated(answer, degrees=True)
            return values[0] is not None and values[1] is not None and same_values(values[0], values[1]) is True
        return self._same_value(bare[0], bare[1])

    def _same_numbers(self, gold: Node, answer: Node) -> bool | None:
        """The verdict where the gold is a number; None if it is none, or if values have to tell."""
        percents = gold.kind == "percent", answer.kind == "percent"
        bare = [node.parts[0] if node.kind == "percent" else node for node in (gold, answer)]
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
            if len(gold.parts) != len(answer.parts):
                return False
            pairs = list(zip(gold.parts, answer.parts, strict=True))
            if all(self._same_value(wanted, given) for wanted, given in pairs):
                return True
            if self.strict or len(pairs) > 2:
                return False
        other = plain_number(answer if gold.kind == "ratio" else gold)
        return False if gold.kind != answer.kind and other is not None and other.value.denominator == 1 else None

    def _same_expression(self, gold: Node, answer: Node) -> bool:
        """Two expressions by value; a decimal by the rounding convention."""
        wanted, given = evaluated(gold), evaluated(answer)
        if wanted is None or given is None:
            return self._decided(None, gold, answer)
        verdict = same_values(wanted, given)
        mine, theirs = wanted.symbols - given.symbols, given.symbols - wanted.symbols
        if len(mine) == len(theirs) == 1 and mine | theirs <= _COUNTERS and any(n.kind == "pi" for n in gold.walk()):
            renamed: dict[str, Values] = {next(iter(theirs)): point(next(iter(mine)))}  # pi/6 + k pi and pi/6 + n pi
            again = evaluated(answer, renamed)
            return again is not None and same_values(wanted, again) is True
        if verdict is False and not wanted.symbols and not given.symbols:
            return self._rounded(gold, wanted, answer, given)
        return self._decided(verdict, gold, answer)

    def _rounded(self, gold: Node, wanted: Evaluated, answer: Node, given: Evaluated) -> bool:
        """Return whether one side is a decimal and the other, irrational, rounds to it."""
        least = FLOAT_DIGITS if self.strict else 3
        for node, other, digits in ((gold, given, 3), (answer, wanted, least)):
            decimal, value = plain_number(node), other.real
            if decimal is not None and value is not None and not other.rational:
                return rounds_to(value, decimal, least=digits)
        return False

    def _decided(self, verdict: bool | None, gold: Node, answer: Node) -> bool:
        """The verdict, or the worker's where there is none."""
        if verdict is not None:
            return verdict
        if self.expression is None:
            raise Undecided
        return self.expression(gold, answer)
