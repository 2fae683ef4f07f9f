"""Show text of others on a terminal without letting it act there, and without what nobody should read."""

import re
from collections.abc import Mapping
from typing import Any, TextIO

# C0 but for tab and newline, DEL and C1, and what turns the direction of text around
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_USERINFO = re.compile(r"(\w+://)[^/\s?#]+@")
_NAME = (
    r"(?:[\w-]{0,40}[-_])?(?:(?:api|access|private|secret|signing)[-_]?key|password|passwd|passphrase|secret|"
    r"authorization|credentials?|cookie)|(?:(?:hf|api|auth|access|refresh|session|bearer)[-_]?)?token"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_SECRET = re.compile(
    rf"((?<![A-Za-z0-9_])(?:{_NAME})['\"]?\s*[:=]\s*['\"]?(?:(?:Bearer|Basic|Token) )?)[^'\",&}}\s]+", re.IGNORECASE
)
_KNOWN_KEY = re.compile(  # of OpenAI and the like, Hugging Face, GitHub, GitLab, Slack, AWS, Google, Groq, NVIDIA; JWT
    r"(?<!\w)(?:sk-[\w-]{16,}|hf_\w{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|"
    r"AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|gsk_\w{20,}|nvapi-[\w-]{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+|"
    r"Bearer [\w.~+/=-]{8,})"
)
_IN_QUERY = re.compile(rf"[?&;](?:{_NAME}|(?:[\w-]{{0,40}}[-_])?(?:key|sig|signature))=", re.IGNORECASE)


def printable(text: str) -> str:
    r"""Return a text with control characters escaped: a colour, a title or a clipboard write is shown as \x1b...

    Lone surrogates, which no terminal can encode, are escaped as well; what stands before the host of a URL is masked.
    """
    shown = _USERINFO.sub(r"\1***@", _ACTING.sub(lambda found: ascii(found[0])[1:-1], text))
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text that others may have written, on standard output if no file is given."""
    print(printable(text), file=file, flush=True)


def masked(text: str) -> str:
    """Return a text with keys, passwords and what stands before the host of a URL replaced by stars."""
    return _KNOWN_KEY.sub("***", _SECRET.sub(r"\1***", _USERINFO.sub(r"\1***@", text)))


def secret_in(value: Any, place: str = "") -> str | None:
    """Return where in a setting a key or password stands; None if nowhere."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            here = f"{place}.{name}" if place else str(name)
            if isinstance(inner, str) and inner and _SECRET_NAME.fullmatch(str(name).replace("-", "_")):
                return here
            if (found := secret_in(inner, here)) is not None:
                return found
    elif isinstance(value, list | tuple):
        return next((found for one in value if (found := secret_in(one, place)) is not None), None)
    elif isinstance(value, str) and any(kind.search(value) for kind in (_USERINFO, _KNOWN_KEY, _IN_QUERY)):
        return place
    return None


class Escaping:
    """A text stream that writes control characters escaped: for the prints of code that may print a model's text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; return its length, as streams do."""
        self._stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Return everything else as the stream has it."""
        return getattr(self._stream, name)
