"""Units: whether two say the same, and which an answer may have."""

from rewards.maths.prose import plain
from rewards.maths.words import PHYSICAL, UNITS


def same_unit(gold: str, answer: str, *, strict: bool) -> bool:
    if gold == answer:
        return True
    names = [{word.partition("^")[0] for word in unit.split()} for unit in (gold, answer)]
    if names[0] <= PHYSICAL | {"per", "square", "cubic"} and names[1] <= PHYSICAL | {"per", "square", "cubic"}:
        return squared(gold) == squared(answer)
    return bool(set(plain(gold).split()) & set(plain(answer).split())) or not strict


def squared(unit: str) -> str:
    words = unit.split()
    if len(words) == 2 and words[0] in ("square", "cubic"):
        return f"{words[1]}^{2 if words[0] == 'square' else 3}"
    return unit


def may_stand(unit: str, words: frozenset[str]) -> bool:
    """Return whether each word of a unit is a known unit's or the question's."""
    return all(
        word.partition("^")[0] in PHYSICAL or word.partition("^")[0] in UNITS or word in words for word in unit.split()
    )
