"""Answers in words, and the letters of a multiple choice."""

import re

from rewards.maths.text import list_items

_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")
_CHOICE = re.compile(
    r"^\(?([A-Z])\)?(?:(?:[.:)] ?| (?=[^\W\d_]))(?!.*(?:\b(?:or|and)\b|[,/&]) ?\(?[A-Z]\)?(?![A-Za-z])).*)?$"
)
_PROSE = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{3,}(?![A-Za-z])")
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|without)\b|n't", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![0-9A-Za-z_^{])-?[0-9]+(?:\.[0-9]+)?(?![0-9A-Za-z^])")
_ARTICLES = frozenset({"a", "an", "the", "any", "every", "each", "all"})


def squeeze(text: str) -> str:
    """Without blanks."""
    return text.replace(" ", "")


def plain_text(text: str) -> str:
    r"""The text of an answer in words: `\text{}` opened, lower case, letters and digits only, single blanks."""
    opened = _TEXT.sub(r" \1 ", text)
    kept = "".join(ch if ch.isalnum() else " " for ch in opened)
    return " ".join(kept.split()).casefold()


def is_words(text: str) -> bool:
    r"""Whether an answer is words: `\text{...}` alone, or two letters or more and no mathematics."""
    opened = _TEXT.sub(r"\1", text.replace("{{", "{").replace("}}", "}")).strip()
    if len(_PROSE.findall(opened)) >= 4 and "\\text{" not in text.partition(" ")[2][20:]:
        return True
    if any(ch in opened for ch in "\\=<>^_+{}[]|/*"):
        return False
    letters = sum(ch.isalpha() for ch in opened)
    return letters >= 2 and letters >= 2 * sum("0" <= ch <= "9" for ch in opened)


def same_text(gold: str, answer: str) -> bool | None:
    """The verdict on answers in words and choices; None if the gold is mathematics."""
    choice = _CHOICE.match(_TEXT.sub(r"\1", gold).strip())
    if choice and (len(gold) <= 4 or gold.startswith(("(", "\\text{("))):
        found = _CHOICE.match(_TEXT.sub(r"\1", answer).strip())
        return found is not None and found[1] == choice[1] if found or is_words(answer) else None
    if is_words(gold):
        if choice and plain_text(answer) == choice[1].lower():
            return True
        if _says_numbers(answer, gold):
            return True
        members, theirs = list_items(_TEXT.sub(r"\1", gold)), list_items(_TEXT.sub(r"\1", answer))
        if len(members) > 1 and len(members) == len(theirs):
            return sorted(map(plain_text, members)) == sorted(map(plain_text, theirs))
        if _is_gist(plain_text(answer), gold):
            return True
        return squeeze(plain_text(gold)) == squeeze(plain_text(answer)) or (
            None if any(ch in answer for ch in "\\=") and not is_words(answer) else False
        )
    if "\\text{" in gold and "\\text{" in answer and plain_text(gold) == plain_text(answer):
        return True
    return None


def _says_numbers(answer: str, gold: str) -> bool:
    """Whether the answer lists the numbers of a gold sentence, all of them, in order, and says little else."""
    if len(_PROSE.findall(_TEXT.sub(r" \1 ", gold))) < 4 or _NEGATION.search(gold) or len(gold) > 400:
        return False
    said = _NUMBER.findall(gold)
    return (
        bool(said)
        and said == _NUMBER.findall(answer)
        and not re.search(r"[=<>^]|\\(?!text)[a-z]", answer)
        and (len(_PROSE.findall(_TEXT.sub(r" \1 ", answer))) <= 2 * len(said))
    )


def _is_gist(answer: str, gold: str) -> bool:
    """Return whether one word says what a gold sentence says.

    It is the sentence's first word after an article, or its last; none is negated.
    """
    words = plain_text(gold).split()
    if " " in answer or len(answer) < 3 or len(words) < 4 or _NEGATION.search(gold):
        return False
    content = [word for word in words if word not in _ARTICLES]
    return answer in (content[0], content[-1])
