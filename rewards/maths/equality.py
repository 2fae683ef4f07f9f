r"""Compare two answers on their trees.

Structure is compared here: lists, tuples, sets, intervals, matrices, chains of "=", units. Single expressions go by
value (`rewards.algebra.values`). The conventions, with reasons: docs/answers.md.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import TypeVar

from rewards.algebra.values import evaluated, real, same_equation, same_inequality
from rewards.maths.exact import Exact
from rewards.maths.quantities import Quantities, plain_number
from rewards.maths.sets import TURNED, Interval, intervals
from rewards.maths.tree import Node, Reading, substituted, without
from rewards.maths.words import is_english, is_sentence, plain, same_text

_NAMES = frozenset({"symbol", "word", "application", "bound"})  # of what a value can be given to
T = TypeVar("T")
_EQUAL = frozenset({"=", "~", "==="})


class Comparison(Quantities):
    """Comparison of two answers: lists, names, relations and structure, on top of single values."""

    def same_answer(self, gold: Reading, answer: Reading) -> bool:
        """Return whether two answers are equal."""
        if gold.spelling == answer.spelling:
            return True
        if (not gold.known or is_sentence(gold.spelling)) and same_text(gold.spelling, answer.spelling):
            return True
        return self._same(gold.tree, answer.tree)

    def _same(self, gold: Node, answer: Node) -> bool:
        if gold == answer:
            return True
        golds, answers = _members(gold), _members(answer)
        if len(golds) != len(answers):
            golds, answers = _spread(golds, answers), _spread(answers, golds)
        if len(golds) == 1 and len(answers) == 1:
            return self._same_item(golds[0], answers[0])
        union = self._same_unions(gold, answer)
        if union is not None:
            return union
        if len(golds) == 1 or len(answers) == 1:
            return self._one_against_many(golds, answers)
        if len(golds) != len(answers) and all(one.kind == "group" for one in golds):  # tuples said twice
            golds, answers = list(dict.fromkeys(golds)), list(dict.fromkeys(answers))
        counted = all(node.kind == "quantity" for node in answers) and _only_first_named(answers, golds)
        if len(golds) == len(answers) and (counted or _only_first_named(golds, answers)):
            return self._pairwise(golds, answers)
        return self._matched(golds, answers)

    def _one_against_many(self, golds: list[Node], answers: list[Node]) -> bool:
        """A tuple against a list, in order; everything else is of another length."""
        one, many = (answers[0], golds) if len(answers) == 1 else (golds[0], answers)
        value = _named_value(one)
        if value.kind == "group" and len(value.parts) == len(many) and (value.name == "()" or not self.strict):
            return self._pairwise(*((many, value.parts) if many is golds else (value.parts, many)))
        return len(golds) > 1 and len(set(golds)) == len(set(answers)) == 1 and self._same_item(golds[0], answers[0])

    def _matched(self, golds: Sequence[Node], answers: Sequence[Node]) -> bool:
        """Return whether the items pair off, in any order."""
        return _pair_off(
            golds, answers, lambda one, other: not _names_differ(one, other) and self._same_item(one, other)
        )

    def _same_item(self, gold: Node, answer: Node) -> bool:
        if gold == answer:
            return True
        gold, answer = _unlabelled(gold), _unlabelled(answer)
        if gold.kind == "about":
            gold = gold.parts[0]
        if answer.kind == "about":
            if self.strict:
                return False
            answer = answer.parts[0]
        chains = _chain(gold), _chain(answer)
        if len(chains[0]) > 1 or len(chains[1]) > 1:
            return self._same_chain(gold, answer, *chains)
        return self._same_value(gold, answer)

    def _same_chain(self, gold: Node, answer: Node, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        """`x = 3` against `3`, `x = a = b`, `exact \\approx decimal`, and equations proper."""
        if "~" in answer.name.split() and len(answers) > 1 and answer.kind == "relation":
            return self._same_approximate(gold, answer)
        if "~" in gold.name.split() and len(golds) > 1:
            exact = _before_approximation(gold)
            return any(self._same_item(part, answer) for part in (exact, *([golds[-1]] if not self.strict else [])))
        if len(golds) > 2 and (len(answers) == 1 or golds[0] == answers[0]):
            return self._same_value(golds[-1], answers[-1])  # the reference is a worked chain: its end counts
        if len(golds) > 1 and len(answers) > 1:
            if _assignable(golds[0]) and _assignable(answers[0]):
                renamed = _renaming(golds[0], answers[0])
                if renamed is None:  # y = x / 2 and x = 2 y
                    turned = len(golds) == len(answers) == 2 and answers[0] in golds[1].walk()
                    return turned and same_equation(gold.parts, answer.parts)
                return self._consistent(answers) and self._same_value(golds[-1], substituted(answers[-1], *renamed))
            return len(golds) == len(answers) == 2 and same_equation(gold.parts, answer.parts)
        if len(answers) > 1:
            named = _assignable(answers[0]) or _numeric(answers)
            return named and self._consistent(answers) and self._same_value(golds[0], answers[-1])
        if name := _solved_for(golds, answers[0]):
            return same_equation((golds[0], golds[1]), (Node("symbol", (), name), answers[0]))
        return _assignable(golds[0]) and self._same_value(golds[-1], answers[0])

    def _same_approximate(self, gold: Node, answer: Node) -> bool:
        r"""`exact \approx decimal`: the exact part counts, and the decimal must be near it; lenient: either."""
        exact, last = _before_approximation(answer), answer.parts[-1]
        values = [real(_unit_stripped(_named_value(part))) for part in (exact, last)]
        if values[0] is not None and values[1] is not None and abs(values[0] - values[1]) > abs(values[0]) / 100:
            return False
        if self._same_item(gold, exact):
            return True
        near = values[0] is not None and values[1] is not None
        return not self.strict and (near or _assignable(exact)) and self._same_item(gold, last)

    def _consistent(self, chain: tuple[Node, ...]) -> bool:
        """Return whether the members after the name are equal to the last: `x = 4 = 3` is not."""
        members = chain if _numeric(chain) else chain[1:]
        lenient = Comparison(strict=False, words=self.words)
        return all(lenient._same_value(member, chain[-1]) for member in members[:-1])

    def _same_value(self, gold: Node, answer: Node) -> bool:
        """Single values: numbers, units, text, intervals, tuples, matrices, else an expression."""
        if gold == answer:
            return True
        if gold.kind == "text" or answer.kind == "text":
            return _same_words(gold, answer)
        if gold.kind == "quantity" or answer.kind == "quantity":
            return self._same_quantity(gold, answer)
        if gold.kind == "degrees" or answer.kind == "degrees":
            return self._same_degrees(gold, answer)
        if gold.kind == "word" and answer.kind == "word":
            if _same_words(gold, answer):
                return True
            if is_english(gold.name) or is_english(answer.name):  # `no` is no product that `on` equals
                return False
        if gold.kind == "modulo" or answer.kind == "modulo":
            return self._same_residue(gold, answer)
        numbers = self._same_numbers(gold, answer)
        if numbers is not None:
            return numbers
        union = self._same_unions(gold, answer)
        if union is not None:
            return union
        structure = self._same_structure(gold, answer)
        return self._same_expression(gold, answer) if structure is None else structure

    def _same_residue(self, gold: Node, answer: Node) -> bool:
        r"""`3 \pmod{7}`: the modulus may be left out or added where the number is its least residue."""
        moduli = {node.parts[1] for node in (gold, answer) if node.kind == "modulo"}
        bare = without("modulo", gold, answer)
        if len(moduli) > 1:
            return False
        if gold.kind != answer.kind:
            value, modulus = real(bare[0]), real(moduli.pop())
            if value is None or modulus is None or not 0 <= value < modulus:
                return False
        return self._same_value(bare[0], bare[1])

    def _same_unions(self, gold: Node, answer: Node) -> bool | None:
        """The verdict on sets of numbers; None if one of the two is none."""
        kinds = {gold.kind, answer.kind}
        if kinds == {"group"} or not kinds & {"relation", "union", "difference", "builder", "group", "symbol", "list"}:
            return None
        if gold.kind == "relation" and gold.name == "in" and answer.kind == "relation" and (answer.name != "in"):
            return False  # math-verify's default: a gold `x \in S` asks for a set
        mine, theirs = intervals(gold), intervals(answer)
        if mine is None or theirs is None:
            return False if "union" in kinds and (mine or theirs) is not None else None
        if not _pair_off(mine, theirs, self._same_interval):
            return None if kinds == {"relation"} and len(mine) == len(theirs) else False
        if gold.kind == answer.kind == "relation":
            names = [{part.name for part in node.walk() if part.kind in _NAMES} for node in (gold, answer)]
            return True if names[0] == names[1] else None
        return True

    def _same_interval(self, gold: Interval, answer: Interval) -> bool:
        ends = (gold.low, answer.low), (gold.high, answer.high)
        return (gold.low_closed, gold.high_closed) == (answer.low_closed, answer.high_closed) and all(
            wanted is given or (wanted is not None and given is not None and self._same_value(wanted, given))
            for wanted, given in ends
        )

    def _same_structure(self, gold: Node, answer: Node) -> bool | None:
        """Tuples, sets, matrices, entry by entry; None if neither is one."""
        gold, answer = _multiplied(gold), _multiplied(answer)
        kinds = {gold.kind, answer.kind}
        if "matrix" in kinds and kinds <= {"matrix", "group"}:
            return self._same_tables(gold, answer)
        if kinds == {"group"}:
            if len(gold.parts) != len(answer.parts) or gold.name != answer.name:
                return False
            return self._pairwise(gold.parts, answer.parts)
        if kinds == {"set"}:
            return self._matched(gold.parts, answer.parts)
        if kinds == {"relation"}:
            return self._same_relation(gold, answer)
        if kinds & {"matrix", "group", "set", "list", "builder", "union", "difference", "intersection", "relation"}:
            return False
        if kinds & {"emptyset", "infty"} or {gold.name, answer.name} & {"reals"}:
            return False if gold.kind != "negative" or answer.kind != "negative" else None
        return None

    def _same_tables(self, gold: Node, answer: Node) -> bool:
        """Matrices, also as brackets in brackets; a vector in brackets is a row or a column."""
        tables = [
            [part.parts if part.kind in ("row", "group") else (part,) for part in node.parts] for node in (gold, answer)
        ]
        if gold.kind != answer.kind:
            tables = [[(cell,) for cell in table[0]] if len(table) == 1 else table for table in tables]
        cells = [tuple(cell for row in table for cell in row) for table in tables]
        return [len(row) for row in tables[0]] == [len(row) for row in tables[1]] and self._pairwise(*cells)

    def _pairwise(self, golds: Sequence[Node], answers: Sequence[Node]) -> bool:
        return all(self._same_item(wanted, given) for wanted, given in zip(golds, answers, strict=True))

    def _same_relation(self, gold: Node, answer: Node) -> bool:
        """Inequalities in several variables; other relations member by member."""
        if gold.name in TURNED and answer.name in TURNED:
            pair = [node.parts[::-1] if ">" in node.name else node.parts for node in (gold, answer)]
            alike = gold.name.replace(">", "<") == answer.name.replace(">", "<")
            return alike and same_inequality(*pair)
        return (
            gold.name == answer.name
            and len(gold.parts) == len(answer.parts)
            and self._pairwise(gold.parts, answer.parts)
        )


def _pair_off(wanted: Sequence[T], given: Sequence[T], same: Callable[[T, T], bool]) -> bool:
    """Return whether items pair off, in any order, those first that are equal as they stand."""
    left = list(given)
    for item in sorted(wanted, key=lambda one: one not in given):
        found = item if item in left else next((other for other in left if same(item, other)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _only_first_named(golds: list[Node], answers: list[Node]) -> bool:
    """Return whether a gold names each of its values and the answer none (or counts: 9 chickens and 10 rabbits).

    Then their order tells them apart.
    """
    names = {_name_of(node) for node in golds}
    return "" not in names and len(names) == len(golds) and not any(_name_of(node) for node in answers)


def _name_of(node: Node) -> str:
    if node.kind == "relation" and node.name == "=" and node.parts[0].kind in _NAMES:
        return node.parts[0].name or "f"
    return node.name if node.kind in ("named", "quantity") else ""


def _members(node: Node) -> list[Node]:
    """The items of a list or a set, of a list after a name (n = 1, 2 has n = 1 as its first)."""
    if node.kind == "relation" and node.name == "in" and node.parts[1].kind == "set":  # x \in \{1, 2\}
        node = node.parts[1]
    if node.kind == "list":
        return [item for part in node.parts for item in _members(part)]
    return list(node.parts) if node.kind == "set" else [node]


def _spread(items: list[Node], others: list[Node]) -> list[Node]:
    """`(a, b) = (1, 2)` as `a = 1`, `b = 2` where the other side has as many members."""
    if len(items) != 1 or items[0].kind != "relation" or items[0].name != "=":
        return items
    names, values = items[0].parts
    groups = names.kind == values.kind == "group" and len(names.parts) == len(values.parts) == len(others)
    if not groups or any(other.kind != "relation" for other in others):
        return items
    return [Node("relation", pair, "=") for pair in zip(names.parts, values.parts, strict=True)]


def _names_differ(gold: Node, answer: Node) -> bool:
    """Return whether both of two listed values say what they count, and count different things."""
    names = [plain(node.name) if node.kind in ("named", "quantity") else "" for node in (gold, answer)]
    return bool(names[0] and names[1]) and not set(names[0].split()) & set(names[1].split())


def _unlabelled(node: Node) -> Node:
    while node.kind == "named":
        node = node.parts[0]
    return node


def _named_value(node: Node) -> Node:
    """Return the value that `(x, y) = (1, 2)` or "Answer: 3" states."""
    node = _unlabelled(node)
    return node.parts[-1] if node.kind == "relation" and node.name == "=" and _assignable(node.parts[0]) else node


def _chain(node: Node) -> tuple[Node, ...]:
    """The members of a chain of "="; the name first in `5 = x`."""
    if node.kind == "relation" and node.name == "=" and _assignable(node.parts[1]) and not _assignable(node.parts[0]):
        return node.parts[::-1]
    return node.parts if node.kind == "relation" and all(sign in _EQUAL for sign in node.name.split()) else (node,)


def _same_words(gold: Node, answer: Node) -> bool:
    """Texts, as wholes; a word in letters (`Even`) is the text `\\text{even}`."""
    kinds = {gold.kind, answer.kind}
    if not kinds <= {"text", "word", "symbol"}:
        return False
    if "text" in kinds:
        return same_text(gold.name, answer.name)
    names = (gold.name, answer.name)
    words = any((name[1:].islower() and len(name) > 2) or (len(name) == 2 and is_english(name)) for name in names)
    return words and gold.name.lower() == answer.name.lower()


def _multiplied(node: Node) -> Node:
    """A matrix for a product of one with numbers."""
    if node.kind != "product" or sum(part.kind == "matrix" for part in node.parts) != 1:
        return node
    matrix = next(part for part in node.parts if part.kind == "matrix")
    factors = tuple(part for part in node.parts if part is not matrix)
    rows = (tuple(_worked_out(Node("product", (*factors, cell))) for cell in row.parts) for row in matrix.parts)
    return Node("matrix", tuple(Node("row", row) for row in rows))


def _worked_out(product: Node) -> Node:
    """A product of plain numbers as the number that it is."""
    numbers = [plain_number(part) for part in product.parts]
    values = [number.value for number in numbers if number is not None]
    known = len(values) == len(numbers)
    return Node("number", number=Exact(math.prod(values, start=Fraction(1)))) if known else product


def _unit_stripped(node: Node) -> Node:
    return node.parts[0] if node.kind in ("quantity", "degrees", "about") else node


def _before_approximation(chain: Node) -> Node:
    """The exact part of `x = a \\approx b`."""
    signs = chain.name.split()
    at = signs.index("~")
    return Node("relation", chain.parts[: at + 1], " ".join(signs[:at])) if at else chain.parts[0]


def _assignable(node: Node) -> bool:
    """Return whether a value can be given to it: a name, f(x), |AB|, \\frac{NO}{BO}, A:B, (x, y)."""
    named = node.parts if node.kind in ("absolute", "ratio", "quotient", "group", "degrees") else (node,)
    return all(part.kind in _NAMES for part in named)


def _numeric(chain: Iterable[Node]) -> bool:
    """Return whether no member has a variable: 10^3 = 1000, e^{i\\pi} = -1."""
    found = [evaluated(part) for part in chain]
    return all(one is not None and not one.symbols for one in found)


def _renaming(gold: Node, answer: Node) -> tuple[str, str] | None:
    """Map the answer's variable to the gold's: f(n) and f(m) are one function; x and y are not the same."""
    if gold == answer:
        return "", ""
    if gold.kind == answer.kind == "application" and gold.name == answer.name:
        names = gold.parts[0], answer.parts[0]
        if len(gold.parts) == len(answer.parts) == 1 and names[0].kind == names[1].kind == "symbol":
            return names[1].name, names[0].name
    return None


def _solved_for(gold: tuple[Node, ...], answer: Node) -> str:
    """The variable of a gold's curve that an answer gives: y of y + 1 = 2x and 2x - 1; "" if it gives none."""
    names = [{node.name for node in side.walk() if node.kind == "symbol"} for side in (Node("", gold), answer)]
    if len(gold) != 2 or _assignable(gold[0]) or {"y", "rho"} & names[1] or not names[1]:
        return ""
    return next((name for name in ("rho", "y") if name in names[0]), "")
