r"""One spelling for the many ways of writing an answer.

Unicode to LaTeX, LaTeX variants to one, then split at the top level.

Only for short text (`MAX_ANSWER` characters): longer answers are refused before they come here.
"""

import re
import unicodedata

MAX_ANSWER = 2000

_UNICODE = str.maketrans({
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "÷": "/", "⁄": "/", "∕": "/",
    "·": r"\cdot ", "⋅": r"\cdot ", "π": r"\pi ", "θ": r"\theta ", "λ": r"\lambda ", "α": r"\alpha ",
    "β": r"\beta ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "≤": r"\leq ", "≥": r"\geq ",
    "⩽": r"\leq ", "⩾": r"\geq ", "≠": r"\neq ", "≈": r"\approx ", "±": r"\pm ", "°": r"^\circ ", "º": r"^\circ ",
    "√": r"\sqrt ", "∅": r"\emptyset ", "½": r" 1/2", "¼": r" 1/4", "¾": r" 3/4", "⅓": r" 1/3", "⅔": r" 2/3",
    "⁰": "^0", "¹": "^1", "²": "^2", "³": "^3", "⁴": "^4", "⁵": "^5", "⁶": "^6", "⁷": "^7", "⁸": "^8", "⁹": "^9",
    "，": ",", "。": ".", "、": ",", "；": ";", "：": ":", "\u00a0": " ",
})  # fmt: skip
# What a JSON or Python string that was not raw makes of \frac, \times, \theta, \beta, \right.
_MANGLED = (("\x0crac", r"\frac"), ("\times", r"\times"), ("\theta", r"\theta"), ("\tfrac", r"\frac"),
            ("\x08eta", r"\beta"), ("\x08inom", r"\binom"), ("\right", r"\right"), ("\x07lpha", r"\alpha"))  # fmt: skip
_MANGLED_TEXT = re.compile(r"\text(?=\{+[A-Za-z])")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")
_SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|mathstrut|phantom\{\})(?![A-Za-z])\.?"
)
_DELIMITER = re.compile(r"(?<!\\)\\[()\[\]]")
_SPACES = re.compile(
    r"(?<!\\)\\[,;:> ]|\\q?quad|\\hspace\*?\{[^{}]*\}|\\hfill|~|\\enspace(?![A-Za-z])|\\thinspace(?![A-Za-z])"
)
_NOTHING = re.compile(r"\\!|\{,\}(?=[0-9])|\\\$|\\(?:hline|notag|nonumber)(?![A-Za-z])")
_THOUSANDS_COMMA = re.compile(r"(?<=[0-9])(?:\{,\}|\\,|,\\!|\\!,|,\\,)(?=[0-9]{3}(?![0-9]))")
_FRAC_NAMES = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_FRAC_SHORT = re.compile(r"\\frac ?(?:([0-9A-Za-z])|(\{[^{}]*\})) ?(?:([0-9A-Za-z])|(?=\{))")
_SQRT_SHORT = re.compile(r"\\sqrt ?([0-9A-Za-z])")
_TEXT_OF_NO_WORD = re.compile(r"\\text ?\{ ?([A-Za-z]|[^A-Za-z{}]*) ?\}")
_TEXT_NAMES = re.compile(
    r"\\(?:mbox|hbox|text[a-z]{2}|textnormal|mathrm|mathbf|mathit|mathsf|boldsymbol|bm|operatorname\*?|rm|bf)(?=\s*\{)"
)
_EMPHASIS = re.compile(r"^(?:\*\*|__)+|(?:\*\*|__)+$")
_BLANKS = re.compile(r"\s+")
_PERCENT_WORD = re.compile(
    r"(?<=[0-9}$ ]) ?(?:\\text ?\{ ?)?(?:percent(?:age)?|per cent|pct)(?![A-Za-z]) ?\}?", re.IGNORECASE
)
_RELATIONS = (("<=", r"\leq "), (">=", r"\geq "), ("!=", r"\neq "), ("=<", r"\leq "))
_NAMES = {
    r"\leqslant": r"\leq", r"\le": r"\leq", r"\geqslant": r"\geq", r"\ge": r"\geq", r"\ne": r"\neq", r"\lt": "<",
    r"\gt": ">", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\cupdot": r"\cup",
    r"\bigcup": r"\cup", r"\dotsc": r"\dots", r"\ldots": r"\dots", r"\cdots": r"\dots", r"\vert": "|",
    r"\lvert": "|", r"\rvert": "|", r"\mid": "|", r"\degree": r"^\circ", r"\infin": r"\infty", r"\div": "/",
    r"\colon": ":", r"\varnothing": r"\emptyset",
}  # fmt: skip
_COMMAND = re.compile(r"\\[A-Za-z]+")
_DEGREES = re.compile(r"\^ ?(?:\{ ?\\circ ?\}|\\circ(?![A-Za-z]))")
_ENVIRONMENT = re.compile(r"\\begin\{(?:[bBpvV]|small)?matrix\}|\\begin\{array\}(?:\{[^{}]*\})?")
_ENVIRONMENT_END = re.compile(r"\\end\{(?:(?:[bBpvV]|small)?matrix|array)\}")
_WORDS_JOINING = re.compile(
    r"\\text ?\{[ ,;]*(?:and|or|und|et|y|oder|ou)[ ,;]*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])", re.IGNORECASE
)


def clean_characters(text: str) -> str:
    """Mangled escapes repaired, Unicode mathematics as LaTeX, NFKC, no invisible characters."""
    text = _MANGLED_TEXT.sub(r"\\text", text)
    for mangled, meant in _MANGLED:
        text = text.replace(mangled, meant)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_UNICODE)).translate(_UNICODE)
    return "".join(ch for ch in text if ch.isspace() or unicodedata.category(ch)[0] != "C")


def normalise(text: str) -> str:
    """One spelling: no dollars, sizes or spacing commands, `\\frac{a}{b}`, `\\text{}`, `^\\circ`, single blanks."""
    text = unwrap_math(clean_characters(text))
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    text = _THOUSANDS_COMMA.sub(",", text)
    text = _NOTHING.sub("", text)
    text = _SPACES.sub(" ", _SIZES.sub("", text))
    text = _COMMAND.sub(lambda match: _NAMES.get(match.group(), match.group()), text)
    text = _TEXT_NAMES.sub(r"\\text", _FRAC_NAMES.sub(r"\\frac", text))
    text = _TEXT_OF_NO_WORD.sub(r" \1 ", text).replace("{ ", "{").replace(" }", "}")
    text = _ENVIRONMENT_END.sub(r"\\end{matrix}", _ENVIRONMENT.sub(r"\\begin{matrix}", text))
    text = _DEGREES.sub(r"^\\circ ", text)
    text = _SQRT_SHORT.sub(r"\\sqrt{\1}", _full_fractions(text))
    for written, meant in _RELATIONS:
        text = text.replace(written, meant)
    text = _PERCENT_WORD.sub("%", text.replace("\\%", "%"))
    text = _BLANKS.sub(" ", text).strip()
    return strip_end(text)


def strip_end(text: str) -> str:
    """Without the punctuation and emphasis around an answer; `x!` and `...` keep theirs, and so does a lone `*`."""
    text = _EMPHASIS.sub("", text.strip(" \t`\"'") if "'" not in text[-1:] else text.strip(' \t`"')).strip()
    while len(text) > 2 and text[0] == text[-1] and text[0] in "*_":
        text = text[1:-1].strip()
    while text and text[-1] in ".,;:^" and not text.endswith(".."):
        text = text[:-1].rstrip()
    return text


def unwrap_math(text: str) -> str:
    """Without the delimiters of formulas and without boxes."""
    text = text.replace("$$", " ").replace("\\$", "").replace("$", " ")
    text = _DELIMITER.sub(" ", text)
    for box in ("\\boxed", "\\fbox"):
        while (at := text.find(box)) >= 0:
            start = text.find("{", at)
            end = closing_brace(text, start) if start >= 0 else -1
            if end < 0 or text[at + len(box) : start].strip():
                text = text[:at] + " " + text[at + len(box) :]
            else:
                text = f"{text[:at]}{text[start + 1 : end]}{text[end + 1 :]}"
    return text


def _full_fractions(text: str) -> str:
    r"""`\frac65` and `\frac{1}3` with both braces."""

    def full(match: re.Match[str]) -> str:
        above = match[2] or f"{{{match[1]}}}"
        return rf"\frac{above}" + (f"{{{match[3]}}}" if match[3] else "")

    return _FRAC_SHORT.sub(full, text)


def closing_brace(text: str, start: int) -> int:
    r"""Index of the brace that closes the one at `start`, or -1; `\{` and `\}` don't count. One pass."""
    depth, at = 0, start
    while at < len(text):
        ch = text[at]
        if ch == "\\":
            at += 1
        elif ch == "{":
            depth += 1
        elif ch == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def split_top(text: str, separators: str) -> list[str]:
    r"""Split at single characters outside all brackets. A comma between groups of three digits is no separator.

    Brackets needn't match in kind: `[0,1)` is one group. `\{` opens like `{`.
    """
    parts, depth, start = [], 0, 0
    for at, ch in enumerate(text):
        if ch in "([{":
            depth += 1
        elif ch in ")]}":
            depth = max(0, depth - 1)
        elif ch in separators and depth == 0 and not (ch == "," and _in_number(text, at)):
            parts.append(text[start:at])
            start = at + 1
    return [part.strip() for part in [*parts, text[start:]]]


def _in_number(text: str, at: int) -> bool:
    """Whether the comma at `at` groups thousands (1,000) or is a decimal comma after 0 or four digits (1000,99)."""
    after = text[at + 1 : at + 5]
    digits = len(after) - len(after.lstrip("0123456789"))
    start = at
    while start > 0 and text[start - 1] in "0123456789":
        start -= 1
    before = text[start:at]
    if not before or not digits:
        return False
    if digits == 3 and before != "0":
        return len(before) <= 3
    return (before == "0" and digits >= 3) or (
        len(before) >= 4 and text[start - 1 : start] != "," and "," not in text[at + 1 :]
    )


def list_items(text: str) -> list[str]:
    r"""The members of an unbracketed list: split at top-level commas, semicolons, "and", "or"."""
    text = _WORDS_JOINING.sub(",", text)
    items = [strip_end(item) for item in split_top(text, ",;")]
    return [item for item in items if item]


def depth_of(text: str) -> int:
    """The deepest nesting of brackets."""
    depth = deepest = 0
    for ch in text:
        if ch in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif ch in ")]}":
            depth -= 1
    return deepest
