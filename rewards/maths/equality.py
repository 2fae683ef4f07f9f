r"""Compare two answers on their trees.

Structure is compared here: lists, tuples, sets, intervals, matrices, chains of "=", units. Single expressions go by
value (`rewards.maths.values`); what values can't tell raises Undecided or goes to the judge of expressions that the
worker process gives. So the fast path agrees with the slow one: it is the same code. The conventions, with reasons:
docs/answers.md.
"""

import math
from fractions import Fraction

from rewards.maths.chains import (
    NAMES,
    assignable,
    before_approximation,
    dependent,
    numeric,
    renaming,
    solvable,
)
from rewards.maths.exact import Exact
from rewards.maths.numbers import plain_number, real
from rewards.maths.prose import is_sentence, plain, same_text
from rewards.maths.quantities import Quantities, Undecided
from rewards.maths.sets import Interval, intervals
from rewards.maths.tree import Node, Reading, substituted
from rewards.maths.values import same_equation, same_inequality
from rewards.maths.words import is_english

_EQUAL = frozenset({"=", "~", "==="})
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


class Comparison(Quantities):
    """Comparison of two answers: lists, names, relations and structure, on top of single values."""

    def same_answer(self, gold: Reading, answer: Reading) -> bool:
        """Return whether two answers are equal. Raises Undecided if values can't tell and nobody else is asked."""
        if gold.spelling == answer.spelling:
            return True
        if (not gold.known or is_sentence(gold.spelling)) and same_text(gold.spelling, answer.spelling):
            return True
        return self._same(gold.tree, answer.tree)

    def _same(self, gold: Node, answer: Node) -> bool:
        if gold == answer:
            return True
        if {gold.kind, answer.kind} == {"group", "set"} and "()" in (gold.name, answer.name):
            return False  # a point is no set of numbers
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
        if len(golds) == len(answers) and (_only_first_named(golds, answers) or _counted(answers, golds)):
            return all(self._same_item(wanted, given) for wanted, given in zip(golds, answers, strict=True))
        return self._matched(golds, answers)

    def _one_against_many(self, golds: list[Node], answers: list[Node]) -> bool:
        """A tuple against a list, in order; everything else is of another length."""
        one = answers[0] if len(answers) == 1 else golds[0]
        many = golds if len(answers) == 1 else answers
        value = _named_value(one)
        if value.kind == "group" and len(value.parts) == len(many) and (value.name == "()" or not self.strict):
            pairs = zip(many, value.parts, strict=True) if len(answers) == 1 else zip(value.parts, many, strict=True)
            return all(self._same_item(wanted, given) for wanted, given in pairs)
        distinct = list(dict.fromkeys(golds)), list(dict.fromkeys(answers))
        return len(golds) > 1 and len(distinct[0]) == len(distinct[1]) == 1 and self._same_item(golds[0], answers[0])

    def _matched(self, golds: list[Node], answers: list[Node]) -> bool:
        """Return whether the items pair off, in any order."""
        if len(golds) != len(answers):
            return False
        left = list(answers)
        waiting: list[Node] = []
        for item in golds:
            if item in left:
                left.remove(item)
            else:
                waiting.append(item)
        undecided = False
        for item in waiting:
            for at, other in enumerate(left):
                try:
                    if not _names_differ(item, other) and self._same_item(item, other):
                        left.pop(at)
                        break
                except Undecided:
                    undecided = True
            else:
                if undecided:
                    raise Undecided
                return False
        return True

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
            exact = before_approximation(gold)
            return any(self._same_item(part, answer) for part in (exact, *([golds[-1]] if not self.strict else [])))
        if len(golds) > 2 and (len(answers) == 1 or golds[0] == answers[0]):
            return self._same_value(golds[-1], answers[-1])  # the reference is a worked chain: its end counts
        if len(golds) > 1 and len(answers) > 1:
            if assignable(golds[0]) and assignable(answers[0]):
                renamed = renaming(golds[0], answers[0])
                if renamed is None:  # y = x / 2 and x = 2 y
                    turned = len(golds) == len(answers) == 2 and answers[0] in golds[1].walk()
                    return turned and self._same_equation(gold, answer)
                return self._consistent(answers) and self._same_value(golds[-1], substituted(answers[-1], *renamed))
            if len(golds) == len(answers) == 2:
                return self._same_equation(gold, answer)
            return False
        if len(answers) > 1:
            named = assignable(answers[0]) or numeric(answers)
            return named and self._consistent(answers) and self._same_value(golds[0], answers[-1])
        if solvable(golds, answers[0]):
            solved = Node("symbol", (), dependent(golds)), answers[0]
            return self._decided(same_equation((golds[0], golds[1]), solved), gold, answer)
        return assignable(golds[0]) and self._same_value(golds[-1], answers[0])

    def _same_equation(self, gold: Node, answer: Node) -> bool:
        sides = (gold.parts[0], gold.parts[1]), (answer.parts[0], answer.parts[1])
        return self._decided(same_equation(*sides), gold, answer)

    def _same_approximate(self, gold: Node, answer: Node) -> bool:
        r"""`exact \approx decimal`: the exact part counts, and the decimal must be near it; lenient: either."""
        exact, last = before_approximation(answer), answer.parts[-1]
        values = [real(_unit_stripped(_named_value(part))) for part in (exact, last)]
        if values[0] is not None and values[1] is not None and abs(values[0] - values[1]) > abs(values[0]) / 100:
            return False
        if self._same_item(gold, exact):
            return True
        near = values[0] is not None and values[1] is not None
        return not self.strict and (near or assignable(exact)) and self._same_item(gold, last)

    def _consistent(self, chain: tuple[Node, ...]) -> bool:
        """Return whether the members after the name are equal to the last: `x = 4 = 3` is not."""
        members = chain if numeric(chain) else chain[1:]
        lenient = Comparison(strict=False, words=self.words, expression=self.expression)
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
        bare = [node.parts[0] if node.kind == "modulo" else node for node in (gold, answer)]
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
        if len(mine) != len(theirs):
            return False
        left = list(theirs)
        for wanted in mine:
            same = next((at for at, given in enumerate(left) if self._same_interval(wanted, given)), None)
            if same is None:
                return None if kinds == {"relation"} else False
            left.pop(same)
        if gold.kind == answer.kind == "relation":
            return None if _subjects(gold) != _subjects(answer) else True
        return True

    def _same_interval(self, gold: Interval, answer: Interval) -> bool:
        if (gold.low_closed, gold.high_closed) != (answer.low_closed, answer.high_closed):
            return False
        for wanted, given in ((gold.low, answer.low), (gold.high, answer.high)):
            if (wanted is None) != (given is None):
                return False
            if wanted is not None and given is not None and not self._same_value(wanted, given):
                return False
        return True

    def _same_structure(self, gold: Node, answer: Node) -> bool | None:
        """Tuples, sets, matrices, entry by entry; None if neither is one."""
        gold, answer = _multiplied(gold), _multiplied(answer)
        kinds = {gold.kind, answer.kind}
        if kinds == {"matrix"}:
            if [len(row.parts) for row in gold.parts] != [len(row.parts) for row in answer.parts]:
                return False
            return self._pairwise(_cells(gold), _cells(answer))
        if kinds == {"matrix", "group"} and all(
            part.kind == "group" for node in (gold, answer) if node.kind == "group" for part in node.parts
        ):
            lists = [_rows(node) for node in (gold, answer)]
            return list(map(len, lists[0])) == list(map(len, lists[1])) and self._pairwise(
                tuple(cell for row in lists[0] for cell in row), tuple(cell for row in lists[1] for cell in row)
            )
        if kinds == {"matrix", "group"}:
            rows = gold if gold.kind == "matrix" else answer
            if len(rows.parts) > 1 and any(len(row.parts) > 1 for row in rows.parts):
                return False
            pair = [_cells(node) if node.kind == "matrix" else node.parts for node in (gold, answer)]
            return len(pair[0]) == len(pair[1]) and self._pairwise(pair[0], pair[1])
        if kinds == {"group"}:
            if len(gold.parts) != len(answer.parts) or gold.name != answer.name:
                return False
            return self._pairwise(gold.parts, answer.parts)
        if kinds == {"set"}:
            return self._matched(list(gold.parts), list(answer.parts))
        if kinds == {"relation"}:
            return self._same_relation(gold, answer)
        if kinds & {"matrix", "group", "set", "list", "builder", "union", "difference", "intersection", "relation"}:
            return False
        if kinds & {"emptyset", "infty"} or {gold.name, answer.name} & {"reals"}:
            return False if gold.kind != "negative" or answer.kind != "negative" else None
        return None

    def _pairwise(self, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        return all(self._same_item(wanted, given) for wanted, given in zip(golds, answers, strict=True))

    def _same_relation(self, gold: Node, answer: Node) -> bool:
        """Inequalities in several variables; other relations member by member."""
        if gold.name in _TURNED and answer.name in _TURNED:
            pair = [node.parts[::-1] if ">" in node.name else node.parts for node in (gold, answer)]
            if gold.name.replace(">", "<") != answer.name.replace(">", "<"):
                return False
            verdict = same_inequality((pair[0][0], pair[0][1]), (pair[1][0], pair[1][1]))
            return self._decided(verdict, gold, answer)
        return (
            gold.name == answer.name
            and len(gold.parts) == len(answer.parts)
            and self._pairwise(gold.parts, answer.parts)
        )


def _counted(answers: list[Node], golds: list[Node]) -> bool:
    """Return whether an answer says what each number counts, and the gold doesn't: 9 chickens and 10 rabbits."""
    return all(node.kind == "quantity" for node in answers) and _only_first_named(answers, golds)


def _only_first_named(golds: list[Node], answers: list[Node]) -> bool:
    """Return whether a gold names each of its values and the answer none: then their order tells them apart."""
    names = {_name_of(node) for node in golds}
    return "" not in names and len(names) == len(golds) and not any(_name_of(node) for node in answers)


def _name_of(node: Node) -> str:
    if node.kind == "relation" and node.name == "=" and node.parts[0].kind in NAMES:
        return node.parts[0].name or "f"
    return node.name if node.kind in ("named", "quantity") else ""


def _members(node: Node) -> list[Node]:
    """The items of a list or a set, of a list after a name (n = 1, 2 has n = 1 as its first)."""
    if node.kind == "relation" and node.name == "in" and node.parts[1].kind == "set":  # x \in \{1, 2\}
        node = node.parts[1]
    return (
        [item for part in node.parts for item in _members(part)]
        if node.kind == "list"
        else (list(node.parts) if node.kind == "set" else [node])
    )


def _spread(items: list[Node], others: list[Node]) -> list[Node]:
    """`(a, b) = (1, 2)` as `a = 1`, `b = 2` where the other side has as many members."""
    if len(items) != 1 or items[0].kind != "relation" or items[0].name != "=":
        return items
    names, values = items[0].parts
    if not all(other.kind == "relation" for other in others) or not names.kind == values.kind == "group":
        return items
    if not len(names.parts) == len(values.parts) == len(others):
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
    return node.parts[-1] if node.kind == "relation" and node.name == "=" and assignable(node.parts[0]) else node


def _chain(node: Node) -> tuple[Node, ...]:
    """The members of a chain of "="; the name first in `5 = x`."""
    if node.kind == "relation" and node.name == "=" and assignable(node.parts[1]) and not assignable(node.parts[0]):
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


def _subjects(relation: Node) -> set[str]:
    return {node.name for node in relation.walk() if node.kind in NAMES}


def _rows(node: Node) -> list[tuple[Node, ...]]:
    """The rows of a matrix, or of [[1, 0], [0, 1]]."""
    return [row.parts for row in node.parts]


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
    return (
        Node("number", number=Exact(math.prod(values, start=Fraction(1)))) if len(values) == len(numbers) else product
    )


def _cells(matrix: Node) -> tuple[Node, ...]:
    return tuple(cell for row in matrix.parts for cell in row.parts)


def _unit_stripped(node: Node) -> Node:
    return node.parts[0] if node.kind in ("quantity", "degrees", "about") else node
