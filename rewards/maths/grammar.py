r"""A parser from the tokens of an answer to a small tree (Pratt 1973: one loop, a binding power for each operator).

Hand-written because the input is half LaTeX, half English: whether `2 m` is a product or a length depends on blanks
and on known words, which a generated parser would need a second pass for. What the grammar does not know becomes a
`text` node, item by item, and is compared as a whole: nothing is dropped to make an answer readable.
"""

import functools
import re

from rewards.maths.atoms import NO_FACTOR
from rewards.maths.phrases import Phrases, ends_in_word
from rewards.maths.tokens import Token, Unknown, strip_end, tokens_of
from rewards.maths.tree import Node, Reading, both_signs, is_minus_one, joined
from rewards.maths.words import FILLERS, MEANINGS, is_english, phrase, states

MAX_DEPTH = 40
MAX_NESTED = 80  # operators that put a node around what stands before them
MAX_ITEMS = 64
_UNIT, _UNION, _RATIO, _SUM, _PRODUCT, _POWER, _POSTFIX = 10, 14, 16, 20, 30, 50, 60
_RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "!=", "~", "===", "in", "notin", "subset", "subseteq"})
_SETS = frozenset({"set", "group", "union", "difference", "intersection", "builder", "emptyset", "symbol"})
_BASED = re.compile(r"([0-9A-F]*(?:[0-9][A-F]|[A-F][0-9])[0-9A-F]*)_([0-9]{1,2})")  # with letters for digits
_STYLE = re.compile(r"\\(?:text[a-z]{0,2}|mbox|mathrm|boxed|fbox)|[{}$\s]")
_BINARY = {"+": _SUM, "-": _SUM, "+-": _SUM, "-+": _SUM, "*": _PRODUCT, "/": _PRODUCT, ":": _RATIO, "^": _POWER,
           "!": _POSTFIX, "%": _POSTFIX, "cup": _UNION, "cap": _UNION, "setminus": _UNION, "pmod": _UNION,
           "choose": _UNION, "over": _UNION,
           "bmod": _PRODUCT, "mod": _PRODUCT, "$": _UNIT}  # fmt: skip


@functools.lru_cache(maxsize=20_000)
def read(text: str) -> Reading | None:
    """The tree of an answer; None where not even the tokens are known."""
    try:
        tokens = tokens_of(text)
    except Unknown:
        return None
    based = _BASED.fullmatch(_STYLE.sub("", strip_end(text))) if "_" in text else None
    if based:
        return Reading(Node("based", (), f"{based[1]}_{based[2]}"), f"{based[1]}_{based[2]}", True)
    if not tokens:
        return None
    parser = Parser(tokens)
    tree = parser.answer()
    return Reading(tree, phrase(tokens), parser.known)


class Parser(Phrases):
    """Operators, brackets, items and units."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        super().__init__(tokens)
        self._bars = self._depth = self._nested = 0
        self._signs = any(token.text in ("+-", "-+") for token in tokens)
        self.known = True  # until a text is found

    def answer(self) -> Node:
        """The whole answer: one item, or a list of them."""
        items: list[Node] = []
        joins: list[str] = []
        while self._at < len(self._tokens):
            start = self._at
            try:
                item = self._item()
                if self._next() and not self._separator():
                    raise Unknown
            except (Unknown, RecursionError, ArithmeticError):
                self._at, self._bars, self._depth = self._end_of_item(start), 0, 0
                item = self._text(start)
            items += both_signs(item) if self._signs else [item]
            if len(items) > MAX_ITEMS:
                self.known = False
                return Node("text", name=phrase(tuple(self._tokens)))
            joins.append(self._separators())
            if items and all(token.text.lower() in FILLERS for token in self._tokens[self._at :]):
                break
        if len(items) == 1:
            return items[0]
        return Node("list", tuple(items), "or" if "or" in joins else "and" if joins[:-1] == ["and"] else ",")

    def _text(self, start: int) -> Node:
        """Read a text the grammar does not know as a whole, or return what a known phrase means."""
        said = phrase(tuple(self._tokens[start : self._at]))
        kind, name = MEANINGS.get(said.casefold(), ("text", said))
        self.known = self.known and kind != "text"
        return Node(kind, (), name)

    def _end_of_item(self, start: int) -> int:
        depth, at = 0, start
        while at < len(self._tokens):
            token = self._tokens[at]
            depth += (token.text in ("(", "[", "{", "\\{")) - (token.text in (")", "]", "}", "\\}"))
            if depth <= 0 and at > start and (token.kind == "join" or token.text in (",", ";")):
                return at
            at += 1
        return at

    # Items: a label, relations, values

    def _item(self) -> Node:
        label = self._label()
        if label:
            self._nested += 1
            if self._nested > MAX_NESTED:
                raise Unknown
            return Node("named", (self._item(),), label)
        sides, signs = [self._expression(0)], []
        while self._next() in _RELATIONS and self._kind() in ("mark", "command"):
            signs.append(self._next())
            self._at += 1
            if signs[-1] == "~" and self._next() == "":
                raise Unknown
            sides.append(self._expression(0))
        self._qualifier()
        return Node("relation", tuple(sides), " ".join(signs)) if signs else sides[0]

    def _label(self) -> str:
        """The words before a value: "Minimum: 1", "The answer is 42". None of them may change what follows."""
        at, words = self._at, list[str]()
        while at < len(self._tokens) and self._tokens[at].kind in ("word", "letter"):
            words.append(self._tokens[at].text.lower())
            at += 1
            if words[-1] in ("is", "are", "equals") and len(words) > 1:
                break
        sign = self._tokens[at].text if at < len(self._tokens) else ""
        said = bool(words) and words[-1] in ("is", "are", "equals")
        spoken = any(len(word) > 3 for word in words) or any(token.textual for token in self._tokens[self._at : at])
        colon = sign == ":" and any(len(word) > 1 for word in words)
        if not sign or not (said or colon or (sign == "=" and spoken)):
            return ""
        if not states(" ".join(words)):
            raise Unknown
        self._at = at + (not said or sign == ":")
        return " ".join(words)

    def _qualifier(self) -> None:
        """Skip "for all real numbers t", which ends an answer."""
        at = self._at + (self._next() == ",")
        ahead = [token.text.lower() for token in self._tokens[at : at + 2]]
        if len(ahead) == 2 and ahead[0] in ("for", "where") and ahead[1] in ("all", "every", "each", "any"):
            self._at = len(self._tokens)

    # Expressions

    def _expression(self, power: int) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unknown
        left = self._first()
        while True:
            binds, kind = self._binding()
            if binds <= power:
                break
            self._nested += binds not in (_SUM, _PRODUCT) or kind == "/"
            if self._nested > MAX_NESTED:
                raise Unknown
            left = self._after(left, kind, binds)
        self._depth -= 1
        return left

    def _binding(self) -> tuple[int, str]:
        """Return how strongly the next token binds to its left, and its kind."""
        token, kind = self._next(), self._kind()
        if kind in ("mark", "command") and token in _BINARY:
            if token == "$" and self._kind(1) == "number":
                return 0, ""
            return _BINARY[token], token
        if self._unit_ahead():
            return _UNIT, "unit"
        if self._starts_factor():
            return _PRODUCT, "next"
        return 0, ""

    def _after(self, left: Node, operator: str, binds: int) -> Node:
        if operator == "next":
            last = left.parts[-1] if left.kind == "product" else left
            if self._kind() == "number" and self._tokens[self._at - 1].kind == "number" and last.kind != "power":
                raise Unknown  # "2 3" is a mixed number, a misprint; not a product
            apart = self._kind() == "word" and self._tokens[self._at].spaced and not re.match("d.$", self._next())  # dx
            if left.kind == "quantity" or (apart and ends_in_word(left)):
                raise Unknown
            right = self._expression(_PRODUCT)
            if left.kind == "symbol" and left.name.isupper() and right.kind == "group":
                return Node("named", (right,), left.name)  # the point P(1, 2)
            return joined("product", left, right)
        if operator == "unit":
            return self._unit(left)
        self._at += 1
        if operator == "^":
            return self._power(left)
        if operator in ("!", "%"):
            if operator == "!" and self._next() == "!":
                raise Unknown
            return Node("factorial" if operator == "!" else "percent", (left,))
        if operator == "$":
            return Node("quantity", (left,), "dollar")
        if operator == "pmod":
            return Node("modulo", (left, self._argument()))
        right = self._expression(binds)
        if operator == "setminus" or (operator == "-" and (right.kind == "set" or left.name == "reals")):
            return _taken_away(left, right)
        if operator in ("+", "-"):
            return joined("sum", left, right if operator == "+" else Node("negative", (right,)))
        if operator == "*":
            return joined("product", left, right)
        kinds = {"/": "quotient", "+-": "plusminus", "-+": "minusplus", ":": "ratio", "cup": "union",
                 "cap": "intersection", "bmod": "remainder", "mod": "remainder",
                 "choose": "binomial", "over": "quotient"}  # fmt: skip
        return (
            joined(kinds[operator], left, right) if operator in (":", "cup") else Node(kinds[operator], (left, right))
        )

    def _starts_factor(self) -> bool:
        kind, token = self._kind(), self._next()
        if kind in ("number", "letter", "begin"):
            return True
        if kind == "word":
            return not self._tokens[self._at].textual and len(token) <= 3 and not is_english(token)
        if kind == "command":
            return token not in NO_FACTOR
        if kind == "mark":
            return token in ("(", "{", "[") or (token == "|" and self._bars == 0)
        return False

    def _first(self) -> Node:
        kind, token = self._kind(), self._next()
        self._at += 1
        if kind == "number":
            return self._number(token)
        if kind == "letter":
            return self._symbol(token)
        if kind == "word":
            return self._word(token)
        if kind == "command":
            return self._command(token)
        if kind == "begin":
            return self._matrix(token)
        if kind == "mark":
            return self._opening(token)
        raise Unknown

    def _opening(self, token: str) -> Node:
        if token in ("-", "+", "+-", "-+"):
            if self._next() in ("-", "+"):
                raise Unknown
            right = self._expression(_PRODUCT - 1 if token in ("-", "+") else _SUM)
            kinds = {"-": "negative", "+-": "plusminus", "-+": "minusplus"}
            return right if token == "+" else Node(kinds[token], (right,))
        if token == "~":
            return Node("about", (self._expression(0),))
        if token in ("(", "[", "<("):
            return self._group(token)
        if token == "{":
            items = self._items("}")
            return items[0] if len(items) == 1 else Node("list", items, ",")
        if token == "\\{":
            return self._set()
        if token == "|":
            self._bars += 1
            inside = self._expression(0)
            self._bars -= 1
            self._expect("|")
            return Node("absolute", (inside,))
        if token == "$":
            return Node("quantity", (self._expression(_UNIT),), "dollar")
        raise Unknown

    def _items(self, *closings: str) -> tuple[Node, ...]:
        """The items up to a closing bracket, which is taken."""
        bars, self._bars = self._bars, 0
        items: list[Node] = []
        while True:
            item = self._item()
            items += both_signs(item) if self._signs and closings[0] == "\\}" else [item]
            if self._next() in closings and self._kind() != "word":
                break
            if not self._separator() or len(items) > MAX_ITEMS:
                raise Unknown
            self._separators()
        self._at += 1
        self._bars = bars
        return tuple(items)

    def _group(self, opening: str) -> Node:
        """Brackets around one expression, or a tuple, a vector, an interval."""
        items = self._items(*((")", "]") if opening != "<(" else (")>",)))
        closing = self._tokens[self._at - 1].text
        brackets = "()" if opening == "<(" else opening + closing
        if len(items) == 1 and opening != "<(":
            if brackets not in ("()", "[]"):
                raise Unknown
            number = items[0].number
            if number is not None and number.value.denominator == 1 and self._mark("_"):  # (1203)_4
                return self._based(str(number.value))
            return items[0]
        return Node("group", items, brackets)

    def _set(self) -> Node:
        if self._take("\\}"):
            return Node("emptyset")
        if self._kind() == "letter" and self._next(1) in ("|", ":", "in"):
            member = Node("symbol", (), self._next())
            self._at += 1
            if self._take("in"):
                self._bars += 1  # here "|" is no absolute value
                member = Node("relation", (member, self._expression(_RATIO)), "in")
                self._bars -= 1
            if self._take("|") or self._take(":"):
                return Node("builder", (member, *self._items("\\}")))
            raise Unknown
        return Node("set", self._items("\\}"))

    def _matrix(self, kind: str) -> Node:
        rows: list[Node] = []
        cells: list[Node] = []
        while True:
            if self._kind() == "end":
                self._at += 1
                break
            cells.append(self._item())
            if self._take("&"):
                continue
            rows.append(Node("row", tuple(cells)))
            cells = []
            while self._take("\\\\"):
                pass
            if len(rows) > MAX_ITEMS:
                raise Unknown
        return Node(kind, tuple(rows))

    def _power(self, base: Node) -> Node:
        braced = self._mark("{") and self._next(1) == "circ" and self._next(2) == "}"
        if self._mark("circ") or braced:
            self._at += 3 if braced else 1
            if self._next() in ("C", "F"):
                self._at += 1
                return Node("quantity", (base,), "celsius" if self._next(-1) == "C" else "fahrenheit")
            return Node("degrees", (base,))
        exponent = self._operand()
        if base.name in ("f", "g", "h") and is_minus_one(exponent) and self._mark("("):
            return self._symbol(f"{base.name}^-1")
        if self._mark("_") and base.kind == "symbol" and "_" not in base.name:  # v^2_0 is v_0^2
            self._at += 1
            base = Node("symbol", (), f"{base.name}_{self._subscript()}")
        if self._mark("^") or self._mark("!"):
            raise Unknown
        return Node("power", (base, exponent))


def _taken_away(whole: Node, part: Node) -> Node:
    """A difference of sets: R is the real numbers, and braces are those of a set."""
    whole = Node("symbol", (), "reals") if whole.name == "R" else whole
    members = part.parts if part.kind == "list" else (part,)
    return Node("difference", (whole, part if part.kind in _SETS else Node("set", members)))
