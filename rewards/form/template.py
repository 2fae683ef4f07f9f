r"""The shape that a completion is to have, a string with slots: `<think>{reasoning}</think><answer>{answer}</answer>`.

Slots: `{reasoning}` needs a letter or a digit, `{answer}` anything visible, `{boxed}` a `\boxed{}` with something in
it, `{text}` nothing. What stands between slots are marks; white space around them is free. Where one mark begins
another (a fence with a language and one without) the longer counts; a fence in the reasoning is no mark. All scans are
one pass.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from rewards.maths.tokens import closing_brace
from rewards.sections import SUMMARY_MARK

# name -> template. `think_answer`: DeepSeek-R1-Zero; `summary`: R1's cold start, `|special_token|<reasoning_process>
# |special_token|<summary>` (arXiv 2501.12948, sections 2.2.3 and 2.3.1).
TEMPLATES = {
    "think_answer": "<think>{reasoning}</think> <answer>{answer}</answer>",
    "think_boxed": "<think>{reasoning}</think> {boxed}",
    "think": "<think>{reasoning}</think> {answer}",
    "think_code": "<think>{reasoning}</think> <answer>{text}```python{answer}```{text}</answer>",
    "summary": f"{SUMMARY_MARK}{{reasoning}}{SUMMARY_MARK}{{answer}}",
}
BLANK = "\u115f\u1160\u3164\uffa0\u2800"  # letters and symbols that show nothing: Hangul fillers, Braille blank
FENCES = ("```", "~~~")
_SLOT = re.compile(r"\{(reasoning|answer|boxed|text)\}")


@dataclass(frozen=True)
class Template:
    """Marks and slots in order; a slot is written with its braces."""

    units: tuple[str, ...]

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(unit for unit in self.units if not _SLOT.fullmatch(unit))

    @property
    def free(self) -> frozenset[tuple[str, str]]:
        """The marks before and behind each slot that may hold anything."""
        around = zip(self.units, self.units[1:], (*self.units[2:], "end"), strict=False)
        return frozenset((before, after) for before, slot, after in around if slot == "{text}")

    @property
    def boxed_after(self) -> str | None:
        """The mark before the slot that wants a box; None without one."""
        return self.units[self.units.index("{boxed}") - 1] if "{boxed}" in self.units else None


@lru_cache(maxsize=32)
def read_template(text: str) -> Template:
    """A template by name or as written. ValueError if it has no slot, no mark in front, or two slots in a row."""
    written = TEMPLATES.get(text, text)
    parts = _SLOT.split(written)  # literal, slot, literal, slot, ..., literal
    units: list[str] = []
    for at, part in enumerate(parts):
        units += [f"{{{part}}}"] if at % 2 else part.split()
    slots = [bool(_SLOT.fullmatch(unit)) for unit in units]
    adjacent = any(one and other for one, other in pairwise(slots))
    if not any(slots) or slots[0] or adjacent:
        known = ", ".join(TEMPLATES)
        raise ValueError(
            f"format.template must be one of {known}, or text such as {TEMPLATES['think_answer']!r} that begins with "
            f"a mark, with marks between its slots {{reasoning}}, {{answer}}, {{boxed}}, {{text}}; got {text!r}"
        )
    return Template(tuple(units))


def has_content(text: str) -> bool:
    """Return whether a reader sees something: white space, zero-width and control characters are nothing."""
    return any(not ch.isspace() and ch not in BLANK and unicodedata.category(ch)[0] != "C" for ch in text.strip())


def has_word(text: str) -> bool:
    """Return whether there is a letter or a digit: dots and dashes are no reasoning."""
    return any(ch.isalnum() and ch not in BLANK for ch in text)


def has_box(text: str) -> bool:
    r"""Return whether there is a closed `\boxed{}` with something in it."""
    start = text.rfind("\\boxed{")
    end = closing_brace(text, start + 6) if start >= 0 else -1
    return end > 0 and has_content(text[start + 7 : end])


FILLED = {"{reasoning}": has_word, "{answer}": has_content, "{boxed}": has_box, "{text}": lambda text: True}


def positions(text: str, template: Template, *, any_case: bool = False) -> list[tuple[int, str]]:
    """Every mark of the template that stands in the text, with where it begins, in order; `any_case`: as `<THINK>` too.

    None overlaps another, the longer goes first. Fences in the reasoning are part of it.
    """
    longest_first = sorted(set(template.marks), key=lambda mark: (-len(mark), mark))
    pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE if any_case else 0)
    found = [(match.start(), match[0]) for match in pattern.finditer(text)]
    ends = {after for slot, after in pairwise(template.units) if slot == "{reasoning}"}
    closed = next((at for at, mark in found if mark in ends), 0)
    return [(at, mark) for at, mark in found if at >= closed or not mark.startswith(FENCES)]


def matches(text: str, template: Template) -> bool:
    """Return whether the text has exactly the template's shape: each mark as often, in order, nothing outside."""
    text = text.strip()
    found = positions(text, template)
    if tuple(mark for _, mark in found) != template.marks:
        return False
    if len(positions(text, template, any_case=True)) != len(found):
        return False
    at, slot, rest = 0, "", iter(found)
    for unit in (*template.units, ""):
        if unit in FILLED:
            slot = unit
            continue
        here, _ = next(rest, (len(text), ""))
        if not _filled(text[at:here], slot):
            return False
        at, slot = here + len(unit), ""
    return True


def _filled(between: str, slot: str) -> bool:
    return FILLED[slot](between) if slot else not between.strip()
