r"""The tokens of an answer, in LaTeX or plain text.

Spacing, sizes, colours, fonts and formula delimiters are left out: they carry no value. Everything else becomes a
token or makes the answer unknown (`Unknown`). `\text{}` is opened and its tokens are marked, so that a letter in it
is a word, not a variable. Only for short text (`MAX_ANSWER` characters).
"""

import re
import unicodedata
from typing import NamedTuple

MAX_ANSWER = 2000
MAX_TOKENS = 600

_UNICODE = dict(zip("−–—‐‑÷⁄∕，。、；：’′\u00a0\u2009\u202f", "-----///,.,;:''   ", strict=True))
_UNICODE |= {sign: f"^{digit}" for sign, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ", "0123456789n", strict=True)}
_UNICODE |= {sign: f" {top}/{below}" for sign, top, below in zip("½¼¾⅓⅔", "11312", "24433", strict=True)}
_COMMANDS = """times cdot cdot infty cup cap in leq geq leq geq neq approx pm mp sqrt cbrt emptyset angle triangle land
lor lfloor rfloor lceil rceil langle rangle setminus pi alpha beta gamma delta epsilon theta lambda mu rho sigma tau phi
phi omega Delta Omega int sum prod partial"""
_SIGNS = "×·⋅∞∪∩∈≤≥⩽⩾≠≈±∓√∛∅∠△∧∨⌊⌋⌈⌉⟨⟩∖παβγδεθλμρστφϕωΔΩ∫∑∏∂"
_UNICODE |= {sign: f"\\{name} " for sign, name in zip(_SIGNS, _COMMANDS.split(), strict=True)}
_UNICODE |= {"°": r"^\circ ", "º": r"^\circ ", "ℝ": r"\mathbb{R}", "¢": " cents"}
_FROM_UNICODE = str.maketrans(_UNICODE)
# What a JSON or Python string that was not raw makes of \frac, \times, \theta, \beta, \right.
_MANGLED = (("\x0crac", r"\frac"), ("\times", r"\times"), ("\theta", r"\theta"), ("\tfrac", r"\frac"),
            ("\x08eta", r"\beta"), ("\x08inom", r"\binom"), ("\right", r"\right"), ("\x07lpha", r"\alpha"))  # fmt: skip
_MANGLED_TEXT = re.compile(r"\text(?=\{+[A-Za-z])")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")
# (3,331) and [1,006,2]: in brackets a comma without a blank anywhere separates
_BRACKETS = re.compile(r"[(\[\]][^()\[\]]*[)\[\]]|\\\{[^{}]*\\\}")
_TIGHT = re.compile(r",(?=[0-9])")
_SPELLINGS = tuple((hint, re.compile(pattern), meant) for hint, pattern, meant in (
    ("\\root", r"\\root\s*\{?([0-9a-z])\}?\s*\\of\b", r"\\sqrt[\1]"),
    # _8C_3
    ("C_", r"(?<![0-9A-Za-z}])(?:\{\})?[_^]\{?([0-9]+|[a-z])\}? ?C_\{?([0-9]+|[a-z])\}?", r"\\binom{\1}{\2}"),
    ("log", r"(?<![A-Za-z\\])log_?([0-9]+)(?=\(| [0-9])", r"\\log_{\1}"),  # log2(8), log_10 100
    # R \ {0}, R\{0\}: between sets the backslash of plain text takes away
    ("\\", r"((?<![A-Za-z\\])R|\\mathbb ?\{?R\}?|\\R(?![a-z])|[)\]](?= +\\ +\\?\{)) *"
     r"(?:\\ +(?=[\[(]|\\?\{)|(?=\\\{)|\\(?=[\[(](?!.*\\[\])])))", r"\1\\setminus "),
    ("{,}", r"(?<=[0-9])\{,\}(?=[0-9]{1,2}(?![0-9])|[0-9]{4})", "."),  # of TeX, where a bare comma separates
    ("x", r"(?<=[0-9]) ?x ?(?=10\^)", r"\\times "),
))  # fmt: skip
_EMPHASIS = re.compile(r"^(?:\*\*|__)+|(?:\*\*|__)+$")


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


FUNCTIONS = word_set("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp max min gcd lcm")
GREEK = word_set(
    """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega hbar ell"""
)
_PLAIN_NAMES = {"Pi": "pi", "inf": "infty", "infinity": "infty", "Infinity": "infty", "oo": "infty", "asin": "arcsin",
                "acos": "arccos", "atan": "arctan"}  # fmt: skip
_PLAIN_NAMES |= {name: name for name in FUNCTIONS | GREEK | word_set("sqrt cbrt pi infty abs floor ceil")}
_UNITS_TOO = frozenset({"min", "sec", "max"})
_JOINING = frozenset({"and", "or", "und", "oder", "et", "ou", "y", "o"})
_ALIASES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "nicefrac": "frac", "dbinom": "binom", "tbinom": "binom",
    "infin": "infty", "varnothing": "emptyset", "degree": "circ", "cr": "\\\\",
    "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "vert": "|", "lvert": "|", "rvert": "|",
    "mid": "|", "colon": ":", "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=",
    "ne": "!=", "neq": "!=", "lt": "<", "gt": ">", "div": "/", "times": "*", "cdot": "*", "ast": "*", "star": "*",
    "pm": "+-", "mp": "-+", "approx": "~", "simeq": "~", "sim": "~", "cong": "~", "equiv": "===", "dots": "...",
    "ldots": "...", "cdots": "...", "dotsc": "...", "to": "->", "rightarrow": "->", "cupdot": "cup", "bigcup": "cup",
    "backslash": "setminus", "R": "reals", "Re": "reals", "lg": "log", "implies": "=>", "Rightarrow": "=>",
    "lor": "or", "vee": "or", "land": "and", "wedge": "and", "langle": "<(", "rangle": ")>", "prime": "'",
    "lparen": "(", "rparen": ")", "percent": "%",
}  # fmt: skip
_NOTHING = word_set(
    r"""left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr bigm displaystyle textstyle
    scriptstyle limits nolimits mathstrut strut hline notag nonumber boxed fbox framebox underline tiny small large
    Large LARGE huge Huge normalsize rm bf it sf tt cal bfseries itshape mathbin mathrel mathord mathop smash
    ensuremath quad qquad enspace thinspace hfill relax null bold"""
)
_SPACES = frozenset({"quad", "qquad", "enspace", "thinspace", "hfill"})
_DROPPING_ONE = frozenset({"color", "textcolor", "colorbox", "hspace", "vspace", "phantom", "hphantom", "vphantom"})
_TEXTUAL = word_set(
    """text mbox hbox textbf textit textrm texttt textsf textnormal textsc textup textmd emph underbar"""
)
_FONTS = word_set(
    "mathrm mathbf mathit mathsf mathtt boldsymbol bm pmb operatorname mathnormal mathcal mathscr mathfrak"
)
_THIN = r"(?:\{,\}|\s?,?\s?\\!\s?,?\s?|,\\,|\\,|\\ |\\;|,)"  # between groups of three digits
_TOKEN = re.compile(
    rf"(?P<number>(?:[0-9]{{1,3}}(?:{_THIN}[0-9]{{3}})+(?![0-9])|[0-9]{{1,3}}(?:[ ~'][0-9]{{3}})+(?![0-9 /])"
    r"|(?<![0-9,])(?:0,[0-9]{3,}|[0-9]{4,},[0-9]+)(?![0-9]|,[0-9])|[0-9]+)(?:\.[0-9]+|\.(?=\\?(?:overline|bar|dot)|\([0-9]+\)))?"
    r"|\.[0-9]+)(?P<exponent>[eE][+-]?[0-9]+(?![0-9A-Za-z.]))?"
    r"|(?P<noon>[aApP]\.\s?[mM](?:\.|(?![A-Za-z])))|(?P<word>[^\W\d_]+)|(?P<command>\\[A-Za-z]+\*?)"
    r"|(?P<space>(?:\s|~|\\[,;:>!\s]|\$(?!\$)|\$\$|\\[()\[\]])+)"
    r"|(?P<row>\\\\(?:\[[0-9a-z. ]*\])?)"
    r"|(?P<mark>\*\*|<=|>=|!=|=<|==|\.\.\.|…|\\[{}%$|]|:=|[-+*/^_(){}\[\]|,;:=<>!%'&.€£¥₹])"
)
_BRACE, _ARGUMENT = re.compile(r"\\.|[{}]", re.DOTALL), re.compile(r"\s*([^\\\s])")
_NO_DIGIT = re.compile(r"(?<=[0-9])[^0-9.eE+-]+(?=[0-9]{3})")
_AROUND = frozenset({"cup", "cap", "setminus", ",", ";", "=", "in"})
_TURNED = {
    "]": _AROUND | {"(", "{", "\\{"},
    "[": _AROUND | {")", "}", "\\}"},
}  # what stands beside turned brackets
_MARKS = {"**": "^", "=<": "<=", "==": "=", ":=": "=", "\\%": "%", "…": "...", "\\$": "$", "€": "$", "£": "$",
          "¥": "$", "₹": "$", "\\|": "||"}  # fmt: skip
_MATRIX = re.compile(r"\{(?:([bBpPvV]|small)?matrix|array)\*?\}(?:\s*(?:\{[lcr| ]*\}|\[[lcr]\]))?")


class Unknown(Exception):
    """A token the grammar does not know."""


class Token(NamedTuple):
    """One token; `kind` is number, letter, word, command, mark, join, begin or end."""

    kind: str
    text: str
    spaced: bool = False  # whether a blank stands before it
    textual: bool = False  # whether it stands in \text{} or the like


def clean_characters(text: str) -> str:
    """Mangled escapes repaired, Unicode mathematics as LaTeX, NFKC, no invisible characters."""
    if "\t" in text or "\r" in text or "\x08" in text or "\x0c" in text or "\x07" in text:
        text = _MANGLED_TEXT.sub(r"\\text", text)
        for mangled, meant in _MANGLED:
            text = text.replace(mangled, meant)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_FROM_UNICODE)).translate(_FROM_UNICODE)
    elif text.isprintable():
        return text
    return "".join(ch for ch in text if ch.isspace() or unicodedata.category(ch)[0] != "C")


def strip_end(text: str) -> str:
    """Without the punctuation and emphasis around an answer; `x!` and `...` keep theirs, and so does a lone `*`."""
    text = _EMPHASIS.sub("", text.strip(" \t\n`\"'") if "'" not in text[-1:] else text.strip(' \t\n`"')).strip()
    while len(text) > 2 and text[0] == text[-1] and text[0] in "*_":
        text = text[1:-1].strip()
    if text.endswith("\\") and not text.endswith("\\\\"):  # of "\\ ", whose blank is gone
        text = text[:-1].rstrip()
    while text and text[-1] in ".,;:^" and not text.endswith(("..", "\\;", "\\:", "\\,")):
        text = text[:-1].rstrip()
    return text


def tokens_of(text: str) -> tuple[Token, ...]:
    """The tokens of an answer. Raises Unknown for a character or a command that carries an unknown meaning."""
    text = strip_end(clean_characters(text))
    if text.startswith("~"):  # about; elsewhere it is a blank of TeX
        text = "\\approx " + text[1:]
    for hint, pattern, meant in _SPELLINGS:
        if hint in text:
            text = pattern.sub(meant, text)
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    if "," in text:
        text = _BRACKETS.sub(lambda match: _separated(match.group()), text)
    found: list[Token] = []
    _scan(text, found, textual=False)
    if "]" in text or "[" in text:
        _turn_brackets(found)
    return tuple(found)


def _turn_brackets(tokens: list[Token]) -> None:
    """Make ]1,6[ (1,6) and [1,6[ [1,6): a "]" that begins an item opens, a "[" that ends one closes."""
    for at, token in enumerate(tokens):
        if token.kind != "mark" or token.text not in ("[", "]"):
            continue
        opens = token.text == "]"
        edge = at == (0 if opens else len(tokens) - 1)
        beside = tokens[at] if edge else tokens[at - 1 if opens else at + 1]
        if edge or beside.kind == "join" or beside.text in _TURNED[token.text]:
            tokens[at] = token._replace(text="(" if opens else ")")


def _separated(brackets: str) -> str:
    """Blanks after the commas in (3,331): without a blank after any of them they separate, not group, digits."""
    return _TIGHT.sub(", ", brackets) if ", " not in brackets and ",\\" not in brackets else brackets


def _scan(text: str, found: list[Token], *, textual: bool) -> None:
    at, spaced = 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(found) > MAX_TOKENS:
            raise Unknown
        kind, value, at = match.lastgroup, match.group(), match.end()
        if kind == "space":
            spaced = spaced or value.strip("\\!") != ""
            continue
        if kind in ("number", "exponent"):
            found.append(Token("number", value, spaced, textual))
        elif kind == "noon":
            found.append(Token("word", value[0].lower() + "m", True, True))
        elif kind == "word":
            _word(value, found, spaced, textual)
        elif kind == "command":
            at, spaced = _command(text, at, value[1:].rstrip("*"), found, spaced, textual)
            continue
        elif kind == "row":
            found.append(Token("mark", "\\\\", spaced, textual))
        else:
            found.append(Token("mark", _MARKS.get(value, value), spaced, textual))
        spaced = False


def _word(run: str, found: list[Token], spaced: bool, textual: bool) -> None:
    """A run of letters: a known name, a joining word, one letter, or a word."""
    if run in _PLAIN_NAMES and not (textual and (len(run) < 3 or run in _UNITS_TOO) and run != "pi"):
        found.append(Token("command", _PLAIN_NAMES[run], spaced, textual))
    elif not run.isascii():
        found.append(Token("word", run, spaced, True))
    elif run.lower() in _JOINING and len(run) > 1:
        found.append(Token("join", "or" if run.lower() in ("or", "oder", "ou") else "and", spaced, textual))
    elif len(run) == 1 and not textual:
        found.append(Token("letter", run, spaced, textual))
    else:
        head = next((name for name in ("sqrt", "sin", "cos", "tan", "log", "ln", "exp") if run.startswith(name)), "")
        rest = run[len(head) :]
        if run.endswith("sqrt") and len(run) < 7:  # 42xsqrt(5x)
            _word(run[:-4], found, spaced, textual)
            found.append(Token("command", "sqrt", False, textual))
        elif head and (len(rest) == 1 or rest in _PLAIN_NAMES):
            found.append(Token("command", head, spaced, textual))
            _word(rest, found, False, textual)
        else:
            found.append(Token("word", run, spaced, textual))


def _command(text: str, at: int, name: str, found: list[Token], spaced: bool, textual: bool) -> tuple[int, bool]:
    """Read one command; return where the text goes on and whether a blank stands before what follows."""
    if name in _NOTHING:
        if name in ("left", "right") and text[at : at + 1] == ".":
            at += 1
        return at, spaced or name in _SPACES
    if name in _DROPPING_ONE:
        if text[at : at + 1] == "[" and "]" in text[at:]:
            at = text.index("]", at) + 1
        end = _group_end(text, at)
        return end + 1, spaced
    if name in _TEXTUAL or name in _FONTS:
        return _styled(text, at, name, found, spaced, textual)
    if name == "mathbb":
        end = _group_end(text, at)
        inside = text[at : end + 1].strip(" {}")
        found.append(Token("command", "reals" if inside == "R" else f"set{inside}", spaced, textual))
        return end + 1, False
    if name in ("begin", "end"):
        match = _MATRIX.match(text, at)
        if match is None:
            raise Unknown
        found.append(Token(name, "determinant" if match[1] in ("v", "V") else "matrix", spaced, textual))
        return match.end(), False
    known = _ALIASES.get(name, name)
    kind = "join" if known in ("or", "and") else "command" if known.isalpha() else "mark"
    found.append(Token(kind, known, spaced, textual))
    return at, False


def _styled(text: str, at: int, name: str, found: list[Token], spaced: bool, textual: bool) -> tuple[int, bool]:
    r"""`\text{...}` and fonts: words keep together, mathematics in a font stays a group."""
    end = _group_end(text, at)
    inside = text[at : end + 1].strip()
    inside = inside[1:-1] if inside.startswith("{") else inside
    words = name in _TEXTUAL or (
        len(inside.strip()) > 1 and inside.replace("/", "").replace("~", "").replace(" ", "").isalpha()
    )
    if words:
        _scan(inside, found, textual=True)
    else:
        found.append(Token("mark", "{", spaced, textual))
        _scan(inside, found, textual=textual)
        found.append(Token("mark", "}", False, textual))
    return end + 1, words and inside[-1:].isspace()


def _group_end(text: str, at: int) -> int:
    """Index of the last character of a command's argument: a braced group or one character."""
    match = _ARGUMENT.match(text, at)
    end = -1 if match is None else closing_brace(text, match.start(1)) if match[1] == "{" else match.start(1)
    if end < 0:
        raise Unknown
    return end


def closing_brace(text: str, start: int) -> int:
    r"""Index of the brace that closes the one at `start`, or -1; `\{` and `\}` don't count. One pass."""
    depth = 0
    for match in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0 and match.group() == "}":
            return match.start()
    return -1


def canonical(tokens: tuple[Token, ...]) -> str:
    """One spelling of the tokens: words in lower case, digits without separators, no braces around one token."""
    parts: list[str] = []
    for at, token in enumerate(tokens):
        if token.kind == "mark" and token.text in "{}":
            step = 2 if token.text == "{" else -2
            if 0 <= at + step < len(tokens) and tokens[at + step].text == ("}" if step > 0 else "{"):
                continue
        if token.kind == "word":
            parts.append(token.text.casefold() if token.textual or len(token.text) > 3 else token.text)
        elif token.kind == "number":
            parts.append(_NO_DIGIT.sub("", token.text))
        else:
            parts.append(f"\\{token.text}" if token.kind == "command" else token.text)
    return " ".join(parts)
