r"""Read the text around a box that changes its meaning: `-\boxed{3}`, `\boxed{3}\%`, `\boxed{3} or 4`, "not \boxed{3}".

Only the nearest words and signs are looked at: "x is not negative, so \boxed{3}" denies nothing.
"""

import re

NEAR = 60  # characters on each side

_SIGN_BEFORE = re.compile(r"(?:[0-9^_/]|(?<!\*)\*|\\(?:times|cdot|pm)|(?:^|[^\s])-)$|[0-9)}] ?[-+]\s*$")
_COMMAND_BEFORE = re.compile(r"\\(?:[dt]?frac|sqrt|binom)\s*(?:\{[^{}]*\}\s*)?\{\s*$")
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|except|cannot be|other than|anything but)|n't)"
    r"(?: (?:for|be|equal to|equals?|the answer|the number|exactly))?[\s:$]*(?:\\[(\[])?\s*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\s$.,)\]\\]*(?:(?:is|was|would be|can) ?(?:not|never)|(?:is|was)n't|can't"
    r"|(?:is |was )?(?:wrong|incorrect|false))\b",
    re.IGNORECASE,
)
_OR_BEFORE = re.compile(r"(?:^|[\s>(])[-0-9./]+ (?:or|alternatively,?|maybe) [\s$]*(?:\\[(\[])?\s*$", re.IGNORECASE)
_OR_AFTER = re.compile(r"[\s$,;(]*(?:or|alternatively|maybe|perhaps),? [\s$]*[-0-9\\]", re.IGNORECASE)
_SIGN_AFTER = re.compile(r"[0-9{/]|\^(?! ?\{? ?\\circ)| ?(?:\\(?:times|cdot|pm)|[*/+-]) ?[0-9\\{(]")
_SCALE_AFTER = re.compile(r"[\s$]*(?:\\text ?\{ ?)?(hundred|thousand|million|billion|trillion|dozen)\b", re.IGNORECASE)
_PERCENT_AFTER = re.compile(r"\$? ?\\?%")
_BASE_AFTER = re.compile(r"_(?:[0-9]|\{[0-9]{1,2}\})")
_EQUAL_AFTER = re.compile(r" ?= ?([^$=\n]{0,20}[0-9][^$=\n]{0,20})")


def in_context(before: str, boxed: str, after: str) -> str | None:
    """The answer that a box makes with what stands around it; None if that denies it or makes it a part of more."""
    before, after = before[-NEAR:], after[:NEAR]
    if _denied(before, after) or _SIGN_AFTER.match(after) or _COMMAND_BEFORE.search(before):
        return None
    bare = _bare_end(before)
    if _SIGN_BEFORE.search(bare):
        return None
    if scale := _SCALE_AFTER.match(after):
        return f"{boxed} {scale[1]}"
    if _PERCENT_AFTER.match(after) and not boxed.rstrip().endswith("%"):
        return f"{boxed}\\%"
    if base := _BASE_AFTER.match(after):
        return boxed + base.group()
    equal = _EQUAL_AFTER.match(after)
    return f"{boxed} = {equal[1].strip(' .')}" if equal else boxed


def _denied(before: str, after: str) -> bool:
    return (
        _DENIED_BEFORE.search(before) is not None
        or _DENIED_AFTER.match(after) is not None
        or _OR_BEFORE.search(before) is not None
        or _OR_AFTER.match(after) is not None
    )


def _bare_end(text: str) -> str:
    """Without the delimiters and emphasis right before the box; a list's dash at the start of a line is gone too."""
    text = re.sub(r"(?:^|\n)\s*[-*] +(?=[^-*\n]*$)", "\n", text)
    return re.sub(r"(?:\$|\\[(\[]|\*\*)+\s*$", "", text)
