r"""The values of a LaTeX expression at fixed points, computed while it is read.

Numbers, variables, `+ - * /`, powers, roots, fractions, the elementary functions, factorials, binomials and absolute
values; everything else is `Unsupported`. One pass, no recursion deeper than `MAX_DEPTH`.
"""

import cmath
import functools
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from rewards.algebra.points import (
    POINTS,
    Unsupported,
    Values,
    add,
    binomial,
    constant,
    divide,
    each,
    each_of_one,
    factorial,
    multiply,
    power_of,
)

MAX_TOKENS = 400
MAX_DEPTH = 60

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<command>\\[A-Za-z]+)|(?P<letter>[A-Za-z])|(?P<mark>[-+*/^_(){}\[\]|!]))"
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}")
_SUBSCRIPT = re.compile(r" ?_ ?(?:\{ ?([A-Za-z0-9, ]{1,8})\}|([A-Za-z0-9]))")
_PRIME = re.compile(r" ?\^ ?(?:\{ ?\\prime ?\}|\\prime(?![A-Za-z]))")
_POWER_FIRST = re.compile(
    r"(?<![A-Za-z\\])([A-Za-z]) ?\^ ?([0-9]|\{ ?[0-9]+ ?\}) ?(_ ?(?:[A-Za-z0-9]|\{[A-Za-z0-9, ]{1,8}\}))"
)
GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "vartheta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Sigma",
        "Phi",
        "Psi",
        "Omega",
        "hbar",
        "ell",
    ]
)
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "log": cmath.log, "exp": cmath.exp,
    "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "sinh": cmath.sinh, "cosh": cmath.cosh,
    "tanh": cmath.tanh, "cot": lambda z: 1 / cmath.tan(z), "sec": lambda z: 1 / cmath.cos(z),
    "csc": lambda z: 1 / cmath.sin(z),
}  # fmt: skip
_INVERSES = {"sin": cmath.asin, "cos": cmath.acos, "tan": cmath.atan}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Evaluated:
    """An expression's values at the points."""

    values: Values
    symbols: frozenset[str]
    bars: bool  # whether there are absolute values

    @property
    def rational(self) -> bool:
        """Whether the values are exact."""
        return all(isinstance(value, Fraction) for value in self.values)


@functools.lru_cache(maxsize=8192)
def evaluated(text: str, name: str = "", values: Values = ()) -> Evaluated | None:
    """Return the values of a normalised expression, with `values` for the variable `name` if there is one.

    None if it is no expression that is understood here.
    """
    try:
        reader = _Reader(text, {name: values})
        values = reader.whole()
    except (Unsupported, ArithmeticError, ValueError, TypeError, RecursionError):
        return None
    if any(isinstance(value, complex) and not cmath.isfinite(value) for value in values):
        return None
    return Evaluated(values, frozenset(reader.symbols), reader.bars)


@functools.lru_cache(maxsize=1024)
def _point(name: str) -> Values:
    """The values of a variable: the same in every expression."""
    source = random.Random(name)
    drawn = [Fraction(source.randint(101, 997), source.choice((211, 307, 401))) for _ in range(POINTS)]
    return (*drawn[:-1], -drawn[-1])


class _Reader:
    """Recursive descent; every rule returns the values at the points."""

    def __init__(self, text: str, bound: dict[str, Values]) -> None:
        if _WORD.search(text):
            raise Unsupported
        self.symbols: set[str] = set()
        self._bound = bound
        self.bars = False
        self._depth = 0
        self._open_bars = 0
        self._tokens = list(_tokens(text))
        self._at = 0

    def whole(self) -> Values:
        values = self._sum()
        if self._at != len(self._tokens):
            raise Unsupported
        return values

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, wanted: str) -> bool:
        if self._next() != wanted:
            return False
        self._at += 1
        return True

    def _sum(self) -> Values:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unsupported
        total = self._product(self._sign())
        while self._next() in ("+", "-"):
            total = each(add, total, self._product(self._sign()))
        self._depth -= 1
        return total

    def _sign(self) -> int:
        sign = 1
        while self._next() in ("+", "-"):
            sign = -sign if self._next() == "-" else sign
            self._at += 1
        return sign

    def _product(self, sign: int) -> Values:
        product = each(multiply, constant(Fraction(sign)), self._power())
        while True:
            if self._next() in ("*", "\\cdot", "\\times"):
                self._at += 1
                product = each(multiply, product, self._signed_power())
            elif self._take("/"):
                product = each(divide, product, self._signed_power())
            elif self._starts_factor():
                product = each(multiply, product, self._power())
            else:
                return product

    def _signed_power(self) -> Values:
        return each(multiply, constant(Fraction(self._sign())), self._power())

    def _starts_factor(self) -> bool:
        token = self._next()
        if token[:1].isdigit() or token[:1] == ".":
            if self._tokens[self._at - 1][-1].isdigit():  # "2 3": a mixed number, a misprint; not a product
                raise Unsupported
            return True
        if token == "|":
            return self._open_bars == 0
        return token != "" and token not in "+-*/^_)]}!" and token not in ("\\cdot", "\\times")

    def _power(self) -> Values:
        base = self._primary()
        while self._take("!"):
            base = each_of_one(factorial, base)
        if self._take("^"):
            base = each(power_of, base, self._exponent())
            if self._next() in ("^", "!"):
                raise Unsupported
        return base

    def _exponent(self) -> Values:
        if self._next() in ("{", "("):
            return self._group(self._next())
        sign = constant(Fraction(self._sign()))
        token = self._next()
        if token[:1].isdigit():  # no mixed number: x^2\frac{1}{2} is x^2 / 2
            self._at += 1
            return each(multiply, sign, constant(Fraction(token.replace(",", ""))))
        return each(multiply, sign, self._atom())

    def _primary(self) -> Values:
        token = self._next()
        if token in _CLOSING:
            return self._group(token)
        if token == "|":
            return self._absolute()
        if token[:1] == "\\" and token[1:] in _FUNCTIONS:
            return self._function(token[1:])
        return self._atom()

    def _group(self, opening: str) -> Values:
        if not self._take(opening):
            raise Unsupported
        bars, self._open_bars = self._open_bars, 0
        values = self._sum()
        self._open_bars = bars
        if not self._take(_CLOSING[opening]):
            raise Unsupported
        return values

    def _absolute(self) -> Values:
        self._at += 1
        self._open_bars += 1
        values = self._sum()
        self._open_bars -= 1
        if not self._take("|"):
            raise Unsupported
        self.bars = True
        return each_of_one(lambda value: abs(value) if isinstance(value, Fraction) else complex(abs(value)), values)

    def _atom(self) -> Values:
        token = self._next()
        self._at += 1
        if token[:1].isdigit() or token[:1] == ".":
            return self._mixed(token)
        if token == "\\frac":
            return each(divide, self._group("{"), self._group("{"))
        if token == "\\sqrt":
            return self._root()
        if token == "\\binom":
            return each(binomial, self._group("{"), self._group("{"))
        if token == "\\pi":
            return constant(complex(math.pi))
        if token in ("e", "i"):
            return constant(complex(math.e) if token == "e" else 1j)
        return self._symbol(token)

    def _mixed(self, token: str) -> Values:
        """A number, with a fraction of digits right behind it: 2\\frac{1}{2} is 5/2."""
        whole = Fraction(token.replace(",", ""))
        after = self._tokens[self._at : self._at + 7]
        if len(after) == 7 and after[0] == "\\frac" and after[2].isdigit() and after[5].isdigit() and token.isdigit():
            proper = int(after[2]) < int(after[5]) and [after[1], after[3], after[4], after[6]] == ["{", "}", "{", "}"]
            if proper:
                self._at += 7
                return constant(whole + Fraction(int(after[2]), int(after[5])))
        return constant(whole)

    def _root(self) -> Values:
        degree = self._group("[") if self._next() == "[" else constant(Fraction(2))
        return each(lambda value, root: power_of(value, divide(Fraction(1), root)), self._group("{"), degree)

    def _symbol(self, token: str) -> Values:
        bare = token.partition("_")[0]
        if not (len(bare) == 1 and bare.isalpha()) and bare[1:] not in GREEK:
            raise Unsupported
        if bare in "fghFG" and self._next() == "(":  # f(x), not a product
            raise Unsupported
        self.symbols.add(token)
        return self._bound.get(token) or _point(token)

    def _function(self, name: str) -> Values:
        r"""`\sin^2 x`, `\log_2 8`, `\cos(2x)`: without brackets the argument goes on to the next sign or function."""
        self._at += 1
        function, base, power = _FUNCTIONS[name], None, None
        if self._take("_"):
            if self._next().isdigit() and len(self._next()) > 1:  # \log_28 is the logarithm of 8
                raise Unsupported
            base = self._exponent()
        if self._take("^"):
            power = self._exponent()
            if power == constant(Fraction(-1)):
                if name not in _INVERSES:
                    raise Unsupported
                function, power = _INVERSES[name], None
        values = each_of_one(lambda value: function(complex(value)), self._argument())
        if base is not None:
            if name != "log":
                raise Unsupported
            values = each(divide, values, each_of_one(lambda value: cmath.log(complex(value)), base))
        return values if power is None else each(power_of, values, power)

    def _argument(self) -> Values:
        opening = self._next()
        if opening in ("(", "{", "["):
            values = self._group(opening)
            if self._next() == "^" and opening != "(":  # of (x) it is the function's power, of {x} or [x] who knows
                raise Unsupported
            return values
        values = self._power() if self._next()[1:] not in _FUNCTIONS else self._primary()
        while self._starts_factor() and self._next()[1:] not in _FUNCTIONS and self._next() not in ("(", "[", "|"):
            values = each(multiply, values, self._power())
        return values


def _tokens(text: str) -> list[str]:
    """Numbers, commands, letters and marks; a letter takes its subscript with it: `x_{12}` is `x_12`."""
    found: list[str] = []
    at, text = 0, _POWER_FIRST.sub(r"\1\3^\2", text.strip())  # v^2_0 is v_0^2
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(found) >= MAX_TOKENS:
            raise Unsupported
        token, at = match.group().strip(), match.end()
        named = match.lastgroup == "letter" or (match.lastgroup == "command" and token[1:] in GREEK)
        subscript = _SUBSCRIPT.match(text, at) if named else None
        if subscript:
            token, at = f"{token}_{(subscript[1] or subscript[2]).replace(' ', '')}", subscript.end()
        prime = _PRIME.match(text, at) if named else None
        if prime:
            token, at = f"{token}_prime", prime.end()
        found.append(token)
    return found
