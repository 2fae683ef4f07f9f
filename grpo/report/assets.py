"""The page's styles and scripts: plain ES modules, written into one script so that a report needs no other file."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
# in the order in which they may use one another; their top-level names must all differ
MODULES = (
    "dom.js",
    "text.js",
    "tokens.js",
    "diff.js",
    "source.js",
    "scrolling.js",
    "cards.js",
    "browser.js",
    "curves.js",
    "live.js",
    "main.js",
)
IMPORT = re.compile(r'^import \{[^}]*\} from "\./[\w.]+";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const))", re.MULTILINE)


@cache
def script() -> str:
    """All modules as one."""
    texts = [(STATIC / name).read_text(encoding="utf-8") for name in MODULES]
    return "\n".join(EXPORT.sub("", IMPORT.sub("", text)) for text in texts)


@cache
def katex() -> str:
    """KaTeX as published, see static/katex/LICENSE."""
    return (STATIC / "katex" / "katex.min.js").read_text(encoding="utf-8").strip()


@cache
def style() -> str:
    """The style sheet."""
    return (STATIC / "style.css").read_text(encoding="utf-8")


def policy(*, live: bool, formulas: bool) -> str:
    """The Content-Security-Policy of a page: its own scripts by their hash, no other source of anything.

    A live page may ask the server that it came from; a report may ask nobody.
    """
    hashes = [_hash(text) for text in ([katex()] if formulas else []) + [script()]]
    parts = [
        "default-src 'none'",
        f"script-src {' '.join(hashes)}",
        "style-src 'unsafe-inline'",
        "img-src data:",
        *(["connect-src 'self'"] if live else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(parts)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
