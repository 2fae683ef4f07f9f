"""Words by script: a text taken apart into countable words, with code, formulas, numbers and tags left out.

A word is a run of letters; in Chinese and Japanese, which write none apart, each character is one.
"""

import re
import unicodedata


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Scripts that settle the language among those the language reward knows, and those several languages share.
SCRIPT_OF = {
    "zh": "han", "ja": "kana", "ko": "hangul", "ar": "arabic", "fa": "arabic", "ur": "arabic", "he": "hebrew",
    "ru": "cyrillic", "uk": "cyrillic", "bg": "cyrillic", "be": "cyrillic", "sr": "cyrillic", "mk": "cyrillic",
    "kk": "cyrillic", "mn": "cyrillic", "el": "greek", "hi": "devanagari", "mr": "devanagari", "th": "thai",
    "bn": "bengali", "ta": "tamil", "te": "telugu", "gu": "gujarati", "pa": "gurmukhi", "ka": "georgian",
    "hy": "armenian",
}  # fmt: skip
LATIN_LANGUAGES = _word_set(
    """
    en de fr es it pt nl sv da nb nn no fi pl cs sk sl hr bs ro hu tr az vi id ms tl sw so sq eu ca et lv lt is ga cy
    la eo af yo zu xh st tn ts sn lg mi
    """
)

_LATIN = "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ"
_ARABIC = "\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06ef\u06fa-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc"
# Latin words glued to digits or underscores are identifiers (x1, foo_bar). The look-arounds keep this one pass: a start
# inside a run is refused at once.
LATIN_WORD = re.compile(rf"(?<![{_LATIN}0-9_\\])[{_LATIN}]+(?:['’][{_LATIN}]+)?(?![{_LATIN}0-9_])")
OTHER_WORD = re.compile(
    "(?P<han>[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3005\u3007])"
    "|(?P<kana>[\u3041-\u3096\u30a1-\u30fa\u30fc\uff66-\uff9d])"
    "|(?P<hangul>[\uac00-\ud7a3\u1100-\u11ff\u3131-\u318e]+)"
    "|(?P<cyrillic>[\u0400-\u052f\u0301]+)"
    f"|(?P<arabic>[{_ARABIC}][{_ARABIC}\u200c\u200d]*)"
    "|(?P<greek>[\u0370-\u03ff\u1f00-\u1fff]{2,})"
    "|(?P<hebrew>[\u0590-\u05ff]+)"
    "|(?P<devanagari>[\u0900-\u0963\u0970-\u097f]+)"
    "|(?P<bengali>[\u0980-\u09e5\u09f0-\u09ff]+)"
    "|(?P<gurmukhi>[\u0a00-\u0a65\u0a70-\u0a7f]+)"
    "|(?P<gujarati>[\u0a80-\u0ae5\u0af0-\u0aff]+)"
    "|(?P<tamil>[\u0b80-\u0be5]+)"
    "|(?P<telugu>[\u0c00-\u0c65]+)"
    "|(?P<thai>[\u0e01-\u0e3a\u0e40-\u0e4e]+)"
    "|(?P<georgian>[\u10a0-\u10ff]+)"
    "|(?P<armenian>[\u0530-\u058f]+)"
)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
# Function names and units that every language writes alike.
FORMULA_WORDS = _word_set(
    """
    sin cos tan cot sec csc log ln lim max min mod gcd lcm exp sqrt det arcsin arccos arctan km kg cm mm mg ml kb mb gb
    """
)
_PROSE_IN_DOLLARS = re.compile(r"(?:(?<![\\{])\b[^\W\d_]{2,}[ ,.]+){3}")  # between two prices, not a formula
_MARKS = re.compile(r"</?[A-Za-z][^<>\n]{0,40}>|<\|[^|<>\n]{0,40}\|>|https?://\S+|\\[A-Za-z]+")


def prose(text: str) -> str:
    """The text without fenced and inline code, formulas, tags, addresses and LaTeX commands."""
    if "```" in text:
        text = " ".join(text.split("```")[::2])
    if "`" in text:
        text = _without_pairs(text, "`", "`")
    if "\\" in text:
        for opening, closing in (("\\[", "\\]"), ("\\(", "\\)"), ("\\begin{", "\\end{")):
            text = _without_pairs(text, opening, closing)
    if "$" in text:
        text = _without_pairs(text, "$$", "$$")
        text = _without_dollars(text)
    if "<" in text or "\\" in text or "://" in text:
        text = _MARKS.sub(" ", text)
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _without_pairs(text: str, opening: str, closing: str) -> str:
    """The text without what stands between the marks; an unclosed mark removes nothing."""
    parts: list[str] = []
    at = 0
    while True:
        start = text.find(opening, at)
        end = text.find(closing, start + len(opening)) if start >= 0 else -1
        if start < 0 or end < 0:
            return " ".join([*parts, text[at:]]) if parts else text
        parts.append(text[at:start])
        at = end + len(closing)


def _without_dollars(text: str) -> str:
    """Return the text without `$formula$`.

    A formula is on one line, without a space inside the dollars or a digit after them (that is money).
    """
    parts = text.split("$")
    kept, index = [parts[0]], 1
    while index < len(parts):
        inside, after = parts[index], parts[index + 1] if index + 1 < len(parts) else None
        formula = (
            after is not None and inside and "\n" not in inside and not (inside[0].isspace() or inside[-1].isspace())
        )
        if formula and not (after or "")[:1].isdigit() and not _PROSE_IN_DOLLARS.search(inside):
            kept.append(after or "")
            index += 2
        else:
            kept.append(inside)
            index += 1
    return " ".join(kept)


def latin_words(text: str, one_letter: frozenset[str] = frozenset()) -> list[str]:
    """The words in Latin letters, lower case: no variables (one letter), points (ABC), function names or units."""
    return [
        word
        for found in LATIN_WORD.findall(text)
        if (word := found.lower()) not in FORMULA_WORDS
        and (len(word) > 1 or word in one_letter)
        and not (1 < len(found) <= 3 and found.isupper())
    ]


def other_words(text: str) -> dict[str, list[str]]:
    """Script -> its words, of all scripts but Latin."""
    words: dict[str, list[str]] = {}
    if not text.isascii():
        for match in OTHER_WORD.finditer(" ".join(_NOT_ASCII.findall(text))):  # most of a mixed text is ASCII
            words.setdefault(str(match.lastgroup), []).append(match.group())
    return words
