r"""Rewritings of a reference answer that say the same, and changes that don't, for metamorphic tests.

Each takes an answer and a source of random numbers, and returns another text, or None where it does not apply.
"""

import random
import re
from collections.abc import Callable

Rewriting = Callable[[str, random.Random], str | None]
_WORDS = re.compile(r"\\(?:text|mbox)[a-z]*\{[^}]*\}")
_SUM = re.compile(r"([^-+(){}\[\],=<>|]+)([-+])([^-+(){}\[\],=<>|]+)")


def _worded(text: str) -> bool:
    return _WORDS.search(text) is not None


def _if_other(new: str, old: str) -> str | None:
    return new if new != old else None


# The same answer


def other_commands(text: str, source: random.Random) -> str | None:
    r"""`\dfrac`, `\left(`, `\mbox`."""
    new = text.replace("\\frac", source.choice(["\\dfrac", "\\tfrac"])).replace("\\text{", "\\mbox{")
    if "\\left" not in new and "\\sqrt[" not in new and "\\\\[" not in new:
        new = re.sub(r"([(\[])", r"\\left\1", new)
        new = re.sub(r"([)\]])", r"\\right\1", new)
    return _if_other(new, text)


def other_braces(text: str, source: random.Random) -> str | None:
    r"""`\frac12` and `\sqrt3` with their braces, or without."""
    if source.random() < 0.5:
        new = re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt\1", re.sub(r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2", text))
    else:
        new = re.sub(r"\\sqrt(\d)", r"\\sqrt{\1}", re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text))
    return _if_other(new, text)


def other_blanks(text: str, source: random.Random) -> str | None:
    """Blanks around the signs and after commas, dollars, a stop."""
    new = text if _worded(text) else re.sub(r"(?<![\\^_{])([-+=])", r" \1 ", text)
    return source.choice([f"${new}$", f" {new} ", f"{new}.", f"\\displaystyle {new}"])


def plain_text(text: str, source: random.Random) -> str | None:
    """`sqrt(2)`, `(1)/(2)`, `pi`, as a program would write it."""
    if _worded(text) or "begin" in text or "[" in text or not re.search(r"frac|sqrt|\\pi|\\cdot", text):
        return None
    new = re.sub(r"(?<![\d ])( ?)(\d+) ?\\frac\{(\d+)\}\{(\d+)\}", r"\1(\2+\3/\4)", text)
    for _ in range(4):
        new = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", new)
        new = re.sub(r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)", new)
    new = new.replace("\\pi", "pi").replace("\\cdot", "*").replace("\\left", "").replace("\\right", "")
    return new if "\\" not in new and "{" not in new else None


def other_signs(text: str, source: random.Random) -> str | None:
    """Unicode for LaTeX, thousands for digits, a decimal for an integer or a fraction, a name before it."""
    if re.fullmatch(r"-?\d{4,}", text):
        return f"{int(text):,}".replace(",", source.choice([",", "{,}", ",\\!", "\\,"]))
    if re.fullmatch(r"-?\d+", text):
        return source.choice([f"{text}.0", f"x = {text}", f"\\mathbf{{{text}}}", f"\\text{{{text}}}"])
    fraction = re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(2|4|5|8|10|20|25)\}", text)
    if fraction:
        return f"{fraction[1]}{int(fraction[2]) / int(fraction[3])}"
    new = re.sub(r"\\sqrt\{(\d+)\}", r"√\1", text)
    for command, sign in (("\\infty", "∞"), ("\\cup", "∪"), ("\\pi", "π"), ("^\\circ", "°"), ("\\le ", "≤ ")):
        new = new.replace(command, sign)
    return _if_other(new, text)


def other_order(text: str, source: random.Random) -> str | None:
    """Terms in the other order, b + a for a + b; a list the other way round."""
    found = _SUM.fullmatch(text)
    if found and not _worded(text):
        left, sign, right = (part.strip() for part in found.groups())
        return f"{right}+{left}" if sign == "+" else f"-{right}+{left}"
    items = text.split(",")
    if len(items) > 1 and not re.search(r"[()\[\]{}!]", text) and not any(re.fullmatch(r"\d{3}", i) for i in items):
        return ", ".join(item.strip() for item in reversed(items))
    return None


REWRITINGS: tuple[Rewriting, ...] = (
    other_commands, other_braces, other_blanks, plain_text, other_signs, other_order,
)  # fmt: skip

# Another answer


def sign(text: str, source: random.Random) -> str | None:
    """Another sign in front."""
    if _worded(text) or "\\pm" in text or not re.search(r"[1-9A-Za-z]", text):
        return None
    if text.startswith("-"):
        return text[1:]
    if not re.match(r"[\d\\A-Za-z.]", text) or re.search(r"[,=<>:]|\\in|\\cup|begin|equiv", text):
        return None
    return f"-({text})" if re.search(r"(?<=.)[-+]", text) else f"-{text}"


def digit(text: str, source: random.Random) -> str | None:
    """Another digit."""
    places = [match.start() for match in re.finditer(r"\d", text)]
    if not places:
        return None
    at = source.choice(places)
    return f"{text[:at]}{(int(text[at]) + source.randint(1, 8)) % 10}{text[at + 1 :]}"


def letter(text: str, source: random.Random) -> str | None:
    """Another letter, or one letter less after a number."""
    bare = _WORDS.sub(lambda match: " " * len(match[0]), text)
    places = [match.start() for match in re.finditer(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", bare)]
    if not places:
        return None
    at = source.choice(places)
    if source.random() < 0.3 and text[at - 1 : at].isdigit() and text[at + 1 : at + 2] not in ("^", "_", "("):
        return text[:at] + text[at + 1 :]
    return f"{text[:at]}{'w' if text[at] != 'w' else 'v'}{text[at + 1 :]}"


def operator(text: str, source: random.Random) -> str | None:
    """Minus for plus, or the operator left out."""
    places = [match.start() for match in re.finditer(r"(?<=[0-9A-Za-z}) ])[-+](?=[ 0-9A-Za-z\\(])", text)]
    if not places or _worded(text) or "phantom" in text:
        return None
    at = source.choice(places)
    return text[:at] + source.choice(["-" if text[at] == "+" else "+", " ", ","]) + text[at + 1 :]


def root(text: str, source: random.Random) -> str | None:
    """A root less, or another one; a power less."""
    found = re.search(r"\\sqrt(\[3\])?(?=\{)", text)
    if found:
        return text.replace(found[0], "" if not found[1] and source.random() < 0.5 else (
            "\\sqrt" if found[1] else "\\sqrt[3]"), 1)  # fmt: skip
    power = re.search(r"\^(?:\{\d+\}|\d)", text)
    if power and not _worded(text):
        return text[: power.start()] + text[power.end() :]
    return f"\\sqrt{{{text}}}" if re.fullmatch(r"[2-9]|\d\d+", text) else None


def interval_end(text: str, source: random.Random) -> str | None:
    """A bracket of another kind, or infinity with another sign."""
    if "begin" in text or not re.search(r"infty|cup|^[\[(][^,]*,[^,]*[\])]$", text):
        return None
    if "\\infty" in text and source.random() < 0.3:
        old, new = ("-\\infty", "\\infty") if "-\\infty" in text else ("\\infty", "-\\infty")
        return text.replace(old, new, 1)
    at = source.choice([match.start() for match in re.finditer(r"(?<!\\left)(?<!\\right)[\[\]()]", text)] or [-1])
    return None if at < 0 else text[:at] + {"(": "[", "[": "(", ")": "]", "]": ")"}[text[at]] + text[at + 1 :]


CHANGES: tuple[Rewriting, ...] = (sign, digit, letter, operator, root, interval_end)
