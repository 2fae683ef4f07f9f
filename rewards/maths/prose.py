"""Answers in words: text against text, and a gold sentence against what it says."""

import re

from rewards.maths.words import ARTICLES, NEGATION

_PUNCTUATION = re.compile(r"[.,;:'\"]|(?<![a-z])s(?![a-z])")
_NUMBER = re.compile(r"(?:- )?[0-9]+(?:\.[0-9]+)?")
_MATHS = re.compile(r"[=<>^_+*/|\\]")


def plain(text: str) -> str:
    """A text without articles and punctuation, in lower case and the singular."""
    if text.startswith("( ") and text.endswith(" )") and text.count("(") == 1:
        text = text[2:-2]
    words = [word for word in _PUNCTUATION.sub(" ", text.casefold()).split() if word not in ARTICLES]
    return " ".join(word[:-1] if len(word) > 3 and word.endswith("s") and word.isalpha() else word for word in words)


def same_text(gold: str, answer: str) -> bool:
    """Return whether two texts say the same: as a whole, or the answer is a gold sentence's gist or numbers."""
    gold, answer = gold.casefold(), answer.casefold()
    return plain(gold) == plain(answer) or _is_gist(gold, answer) or _says_numbers(gold, answer)


def _is_gist(gold: str, answer: str) -> bool:
    """Return whether one word says what a gold sentence says.

    It is the sentence's first word after an article, or its last; none is negated.
    """
    words, said = plain(gold).split(), plain(answer)
    if (
        not said.isalpha()
        or len(said) < 3
        or len(gold.split()) < 4 - gold.startswith("the ")
        or NEGATION & set(gold.split())
    ):
        return False
    return said in (words[0], words[-1])


def is_sentence(text: str) -> bool:
    """Return whether a text holds four words or more."""
    return len([word for word in text.split() if len(word) > 2 and word.isalpha()]) >= 4


def _says_numbers(gold: str, answer: str) -> bool:
    """Return whether the answer lists the numbers of a gold sentence, all of them, in order, and says little else."""
    if not is_sentence(gold) or NEGATION & set(gold.split()) or len(gold) > 400 or _MATHS.search(answer):
        return False
    said = _NUMBER.findall(gold)
    spoken = [word for word in answer.split() if len(word) > 2 and word.isalpha()]
    return bool(said) and said == _NUMBER.findall(answer) and len(spoken) <= 2 * len(said)
