r"""The numbers, names and commands of an answer: what stands between its operators."""

import re
from fractions import Fraction

from rewards.maths.exact import Exact, decimal, repeating
from rewards.maths.tokens import FUNCTIONS, GREEK, Token, Unknown
from rewards.maths.tree import Node, derivative_name, is_minus_one, joined, substituted, unused, without_differential
from rewards.maths.words import NUMBERS

PRODUCT, SUM = 30, 20  # binding powers that arguments without brackets need
_ACCENTS = frozenset({"vec", "hat", "bar", "tilde", "overline", "overrightarrow", "widehat", "dot"})
_PREFIXES = frozenset({"angle", "triangle", "measuredangle"})
_SETS = frozenset({"reals", "setZ", "setN", "setQ", "setC", "emptyset"})
_CALLS = {"abs": "absolute", "floor": "floor", "ceil": "ceiling"}
_BIG = frozenset({"sum", "prod", "int", "iint", "oint", "lim"})
_LOST = frozenset({"hline", "atop", "not", "label", "tag", "ref", "frac", "begin", "end", "stackrel"})
_BASE = re.compile(r"[0-9]+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|sixteen")
NO_FACTOR = frozenset({"circ", "over", "cup", "cap", "setminus", "in", "notin", "subset", "subseteq", "choose", "pmod",
                       "bmod", "mod", "rfloor", "rceil"})  # fmt: skip


class Atoms:
    """Tokens and a place in them; every rule returns a node or raises Unknown. `Parser` adds the operators."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = list(tokens)
        self._at = 0

    def _expression(self, power: int) -> Node:
        raise NotImplementedError

    def _items(self, *closings: str) -> tuple[Node, ...]:
        raise NotImplementedError

    def _starts_factor(self) -> bool:
        raise NotImplementedError

    def _unit_ahead(self) -> bool:
        raise NotImplementedError

    def _next(self, ahead: int = 0) -> str:
        try:
            return self._tokens[self._at + ahead].text
        except IndexError:
            return ""

    def _kind(self, ahead: int = 0) -> str:
        try:
            return self._tokens[self._at + ahead].kind
        except IndexError:
            return ""

    def _mark(self, text: str) -> bool:
        return self._next() == text and self._kind() != "word"

    def _take(self, text: str) -> bool:
        if not self._mark(text):
            return False
        self._at += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise Unknown

    def _separator(self) -> bool:
        return self._kind() == "join" or self._next() in (",", ";")

    def _separators(self) -> str:
        """Skip the separators between two items; the word among them, if there is one."""
        said = ""
        while self._separator():
            said = self._next() if self._kind() == "join" and said != "or" else said
            self._at += 1
        return said

    def _number(self, text: str) -> Node:
        if text.endswith(".") or ("." in text and self._next() in ("overline", "bar", "dot")):
            return self._repeating(text)
        value = decimal(text)
        if self._mark("_"):
            return self._based(text)
        if value.decimals is None and text.isdigit():
            mixed = self._mixed(value)
            if mixed is not None:
                return mixed
        return Node("number", number=value)

    def _repeating(self, text: str) -> Node:
        self._at += 1
        digits = self._digits()
        if self._next(-2) == "(":  # 0.(27)
            self._expect(")")
        while self._take("dot"):  # 0.\dot{2}\dot{7}
            digits += self._digits()
        return Node("number", number=repeating(text, digits))

    def _digits(self) -> str:
        digits = self._bare("number").text
        if not digits.isdigit():
            raise Unknown
        return digits

    def _bare(self, *kinds: str) -> Token:
        """One token of these kinds, in braces or without."""
        braced = self._take("{")
        if self._kind() not in kinds:
            raise Unknown
        self._at += 1
        token = self._tokens[self._at - 1]
        if braced:
            self._expect("}")
        return token

    def _based(self, digits: str) -> Node:
        """A number in another base: 52_8, 52_{8}, 52_{\\text{eight}}."""
        self._at += 1
        base = self._bare("number", "word").text
        if not _BASE.fullmatch(base) or not digits.isdigit():
            raise Unknown
        return Node("based", (), f"{digits}_{NUMBERS.get(base, base)}")

    def _mixed(self, whole: Exact) -> Node | None:
        r"""2 2/3 and 2\frac{2}{3}; None where no fraction of digits follows."""
        texts = [token.text for token in self._tokens[self._at : self._at + 7]]
        if self._kind() == "number" and self._tokens[self._at].spaced and texts[1:2] == ["/"] and len(texts) > 2:
            above, below, length = texts[0], texts[2], 3
        elif texts[:1] == ["frac"] and len(texts) == 7 and texts[1] + texts[3] + texts[4] + texts[6] == "{}{}":
            above, below, length = texts[2], texts[5], 7
        elif texts[:1] == ["frac"] and len(texts) > 1 and len(texts[1]) == 2:
            above, below, length = texts[1][0], texts[1][1], 2
        else:
            return None
        if not (above.isdigit() and below.isdigit()):
            return None
        if not 0 < int(above) < int(below):
            raise Unknown  # 3 7/2, 3\frac{7}{2}: a product, or a mixed number gone wrong
        self._at += length
        return Node("number", (), "mixed", Exact(whole.value + Fraction(int(above), int(below))))

    def _symbol(self, name: str) -> Node:
        """A variable with its subscript and primes; f(x) is an application, not a product."""
        if self._mark("_"):
            self._at += 1
            name += "_" + self._subscript()
        while self._mark("'"):
            self._at += 1
            name += "'"
        if self._mark("^") and (self._next(1) == "'" or (self._next(1) == "{" and self._next(2) == "'")):
            self._at += 2 if self._next(1) == "'" else 4
            name += "'"
        if name[0] in "fghFGPTp" and self._mark("(") and not self._tokens[self._at].spaced:
            self._at += 1
            arguments = self._items(")")
            if name.isupper() and len(arguments) > 1:
                return Node("named", (Node("group", arguments, "()"),), name)  # the point P(1, 2)
            return Node("application", arguments, name)
        return Node("symbol", (), name)

    def _subscript(self) -> str:
        if not self._take("{"):
            token = self._tokens[self._at] if self._at < len(self._tokens) else Token("", "")
            self._at += 1
            if token.kind not in ("number", "letter", "command", "word"):
                raise Unknown
            return token.text
        parts: list[str] = []
        while not self._take("}"):
            if self._at >= len(self._tokens) or len(parts) > 8:
                raise Unknown
            parts.append(self._next())
            self._at += 1
        return "".join(parts)

    def _respell(self, at: int) -> None:
        """Split a run of letters in the tokens into single letters."""
        token = self._tokens[at]
        self._tokens[at : at + 1] = [Token("letter", ch, token.spaced and not i) for i, ch in enumerate(token.text)]

    def _command(self, name: str) -> Node:
        if name == "frac":
            above, below = self._argument(), self._argument()
            if derivative := derivative_name(above, below):
                taken = above.kind == "symbol" and self._starts_factor()
                return Node("application", (self._expression(SUM),), derivative) if taken else self._symbol(derivative)
            return Node("quotient", (above, below))
        if name in ("sqrt", "cbrt"):
            degree = Node("number", number=Exact(Fraction(2 if name == "sqrt" else 3)))
            if name == "sqrt" and self._take("["):
                degree = self._expression(0)
                self._expect("]")
            return Node("root", (self._operand(), degree))
        if name == "binom":
            return Node("binomial", (self._argument(), self._argument()))
        if name in FUNCTIONS:
            return self._function(name)
        if name in GREEK:
            return self._symbol(name)
        if name in ("pi", "infty"):
            return Node(name)
        if name in _BIG:
            return self._big_operator(name)
        if name in _SETS:
            return Node("emptyset") if name == "emptyset" else self._symbol(name)
        if name in _CALLS:
            return Node(_CALLS[name], (self._argument(),))
        if name in ("lfloor", "lceil"):
            inside = self._expression(0)
            self._expect("r" + name[1:])
            return Node("floor" if name == "lfloor" else "ceiling", (inside,))
        if name in _ACCENTS or name in _PREFIXES:
            return self._symbol(f"{name} {self._bare('letter', 'word', 'command').text}")
        if name in NO_FACTOR or name in _LOST:
            raise Unknown
        return self._symbol("\\" + name)  # an unknown command is a name that equals itself alone

    def _big_operator(self, name: str) -> Node:
        r"""`\sum_{k=1}^n k`, `\lim_{x \to 0} f`, `\int_0^1 x dx`: the limits, and what stands up to the next sign.

        The variable that it binds has no name of its own.
        """
        variable, lower, limits = "", "", tuple[Node, ...]()
        if self._take("_"):
            if self._mark("{") and self._kind(1) in ("letter", "command") and self._next(2) == "=":
                variable = self._next(1)
                self._at += 3
                limits = (self._expression(0),)
                self._expect("}")
            elif name == "int":
                limits = (self._operand(),)
            else:
                variable, sign, target = self._subscript().rpartition("->")
                lower = sign + target
        if self._take("^"):
            limits += (self._operand(),)
        if name.endswith("int"):
            of, variable = self._integrand()
            if len(limits) < 2:  # nothing is bound
                return Node("bound", (of, *limits), f"{name} {lower}d{variable}")
        else:
            of = self._expression(SUM)
        hidden = unused(of) if variable else ""
        return Node("bound", (substituted(of, variable, hidden), *limits), f"{name} {hidden}{lower}")

    def _integrand(self) -> tuple[Node, str]:
        """What stands before the differential, and its variable."""
        terms: list[Node] = []
        while True:
            negative = bool(terms) and self._next(-1) == "-"
            term, variable = without_differential(self._expression(SUM))
            terms.append(Node("negative", (term,)) if negative else term)
            if variable:
                return (terms[0] if len(terms) == 1 else Node("sum", tuple(terms))), variable
            if not (self._take("+") or self._take("-")):
                raise Unknown

    def _argument(self) -> Node:
        r"""A braced group, or what TeX takes instead: one digit, one letter, one command."""
        kind, token = self._kind(), self._next()
        if kind == "mark" and token in ("{", "("):
            self._at += 1
            items = self._items("}" if token == "{" else ")")
            if len(items) != 1:
                raise Unknown
            return items[0]
        if kind == "number":
            if not token.isdigit():
                raise Unknown
            self._at += 1
            if len(token) > 1:
                self._tokens.insert(self._at, Token("number", token[1:], False))
            return Node("number", number=decimal(token[0]))
        if kind == "word" and not self._tokens[self._at].textual:
            self._respell(self._at)
            self._at += 1
            return Node("symbol", (), self._next(-1))
        if kind in ("letter", "command"):
            self._at += 1
            return Node("symbol", (), token) if kind == "letter" else self._command(token)
        raise Unknown

    def _function(self, name: str) -> Node:
        r"""`\sin^2 x`, `\log_2 8`, `\cos(2x)`: without brackets the argument goes on to the next sign or function."""
        base: Node | None = None
        power: Node | None = None
        if self._take("_"):
            if self._kind() == "number" and len(self._next()) > 1 and self._next(1) != "(":
                raise Unknown  # \log_28 is the logarithm of 8 in TeX
            base = self._operand()
        if self._take("^"):
            power = self._operand()
            if base is None and self._take("_"):
                base = self._operand()
        if power is not None and is_minus_one(power):
            if name not in ("sin", "cos", "tan"):
                raise Unknown
            name, power = "arc" + name, None
        if self._mark("(") or self._mark("{") or self._mark("["):
            opening = self._next()
            self._at += 1
            arguments = self._items({"(": ")", "{": "}", "[": "]"}[opening])
            if self._mark("^") and opening != "(":  # of (x) it is the function's power, of {x} or [x] who knows
                raise Unknown
        else:
            arguments = (self._bare_argument(),)
        if len(arguments) > 1 and name not in ("max", "min", "gcd", "lcm"):
            raise Unknown
        made = Node("function", arguments if base is None else (*arguments, base), f"{name}_" if base else name)
        return made if power is None else Node("power", (made, power))

    def _bare_argument(self) -> Node:
        argument = self._expression(PRODUCT)
        while (
            self._starts_factor()
            and not self._unit_ahead()
            and not (self._next() in ("(", "[", "|", "{") or (self._kind() == "command" and self._next() in FUNCTIONS))
        ):
            argument = joined("product", argument, self._expression(PRODUCT))
        return argument

    def _operand(self) -> Node:
        """An exponent, a base, a limit, what stands under a root: in brackets, or as short as it can be."""
        if self._take("-"):
            return Node("negative", (self._operand(),))
        if self._kind() == "number":  # no mixed number: x^2\frac{1}{2} is x^2 / 2
            self._at += 1
            return Node("number", number=decimal(self._next(-1)))
        return self._argument()
