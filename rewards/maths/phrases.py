"""Words in an answer: units, numbers in words, and runs of letters that are products."""

from fractions import Fraction

from rewards.maths.atoms import Atoms
from rewards.maths.exact import Exact, scaled
from rewards.maths.tokens import Unknown
from rewards.maths.tree import Node
from rewards.maths.words import CHANGING, FILLERS, LETTERS, NUMBERS, SCALES, TOUCHING, UNITS, is_english, unit_name

UNIT = 10  # the binding power of a unit: below every operator
_CURRENCIES = frozenset({"USD", "EUR", "GBP", "Rs", "CAD", "AUD", "US"})


class Phrases(Atoms):
    """The rules for words."""

    def _word(self, run: str) -> Node:
        token = self._tokens[self._at - 1]
        if run in _CURRENCIES and (self._kind() == "number" or self._next() == "$"):
            return Node("quantity", (self._expression(UNIT),), "dollar" if run in ("USD", "US") else run.lower())
        touches = self._at >= 2 and self._tokens[self._at - 2].kind == "number" and not token.spaced
        if self._alone() and run.lower() in NUMBERS:
            return Node("number", (), "word", Exact(Fraction(NUMBERS[run.lower()])))
        if token.textual or len(run) > 4 or (len(run) == 4 and not run.isupper() and not touches):
            raise Unknown
        if self._next() in ("^", "_", "!", "'", "("):
            self._at -= 1
            self._respell(self._at)
            self._at += 1
            return self._symbol(run[0])
        if is_english(run) and not (self._alone() and self._next() in ("", ",")):
            raise Unknown
        return Node("word", (), run)

    def _alone(self) -> bool:
        """Return whether the last token is an item of its own."""
        before = self._tokens[self._at - 2] if self._at >= 2 else None
        return (before is None or before.kind == "join" or before.text in (",", ";", "(", "{", "=", ":", "is")) and (
            self._next() in ("", ",", ";", ")", "}") or self._kind() == "join" or self._unit_ahead()
        )

    def _unit_ahead(self) -> bool:
        if self._at >= len(self._tokens):
            return False
        token = self._tokens[self._at]
        counted = self._at > 0 and self._tokens[self._at - 1].kind == "number"
        if token.kind == "letter" or (token.kind == "command" and token.text in ("min", "sec")):
            known = token.kind == "command" or (token.spaced and token.text in LETTERS)
            return known and counted and self._next(1) in ("", ",", ";", ")")
        if token.kind != "word" or token.text in ("for", "where"):
            return False
        if token.textual or (counted and token.text in ("PM", "AM", "pm", "am")):
            return True
        if not token.spaced:
            return counted and token.text in TOUCHING
        return token.text in UNITS or len(token.text) > 3 or token.text.lower() in FILLERS

    def _unit(self, value: Node) -> Node:
        """The words after a value: what it is counted in. None of them may change what the number says."""
        if ends_in_word(value) or not (
            self._tokens[self._at].textual or any(node.number is not None for node in value.walk())
        ):
            raise Unknown
        words: list[str] = []
        ambiguous = self._kind() == "letter"
        while self._kind() in ("word", "letter") or self._next() in ("min", "sec"):
            word = self._next()
            self._at += 1
            if word.lower() in SCALES and not words:
                value = _scaled(value, SCALES[word.lower()])
                continue
            elif word.lower() in CHANGING or word.lower() in NUMBERS or _lone(word):
                raise Unknown
            if word.lower() not in FILLERS:
                words.append(word)
            if self._mark(".") and len(word) <= 3 and self._kind(1) in ("word", ""):  # sq. units
                self._at += 1
            if self._mark("^") and self._next(1) in ("2", "3"):
                words[-1:] = [f"{unit_name(words[-1:])}^{self._next(1)}"]
                self._at += 2
            if self._mark("/") and self._kind(1) in ("word", "letter"):
                words.append("per")
                self._at += 1
        name = unit_name(words)
        if name in ("square", "cubic", "per") or ("percent" in name.split() and name != "percent"):
            raise Unknown
        if name == "percent":
            return Node("percent", (value,))
        if name == "degree":
            return Node("degrees", (value,))
        if not name:
            return value
        return Node("quantity", (value, *([Node("symbol", (), words[0])] if ambiguous else [])), name)


def _lone(word: str) -> bool:
    """Return whether a word is one letter that is no unit: \\text{3x}."""
    return len(word) == 1 and word.isascii() and word not in LETTERS and word.lower() not in FILLERS


def ends_in_word(node: Node) -> bool:
    """Return whether a value is letters alone, to which no unit belongs."""
    return node.kind == "word" or (node.kind == "product" and node.parts[-1].kind == "word" and (
        node.parts[0].kind == "word"))  # fmt: skip


def _scaled(value: Node, factor: int) -> Node:
    if value.kind != "number" or value.number is None:
        raise Unknown
    return Node("number", (), "scaled", scaled(value.number, factor))
