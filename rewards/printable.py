"""Show text of others on a terminal without letting it act there."""

import re

# C0 but for tab and newline, DEL and C1, and what turns the direction of text around
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Return a text with control characters escaped: a colour, a title or a clipboard write is shown as \x1b...

    Lone surrogates, which no terminal can encode, are escaped as well.
    """
    shown = _ACTING.sub(lambda found: ascii(found[0])[1:-1], text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")
