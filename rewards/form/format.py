r"""Format rewards: whether a completion has the shape of the template (`rewards.form.template`).

By default `<think>reasoning</think> <answer>answer</answer>` of DeepSeek-R1 (arXiv 2501.12948).

- `format`: all or nothing. Train on this one where the model already hits the template now and then.
- `format_similarity`: the cosine between the tag structures, so that there is something to climb at the start.
- `format_tag_count`: the share of the template's marks that are in place; coarser, and easier to read in a log.

None says anything about the content, so none may stand alone: a model paid for the shape only writes empty talk in
the right tags, and a graded reward pays it most of the way. Give them less weight than accuracy (0.3 to 1.0 in the
default) and go on to `format` once it is above zero. Repeating tags, nesting them, leaving them empty and writing
around them all lower the graded ones; only the exact template reaches 1.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from rewards.base import Completion, Judged, completion_text, seen_prompts
from rewards.form.template import FILLED, Template, has_box, has_content, has_word, matches, positions, read_template
from rewards.sections import TURN_MARKS

DEFAULT = read_template("think_answer")


def strict_format(text: str, template: Template = DEFAULT) -> float:
    """1 if the text is exactly the template, its slots filled, nothing else around and no further turn; else 0."""
    return float(matches(text, template) and not any(mark in text for mark in TURN_MARKS))


def format_similarity(text: str, template: Template = DEFAULT) -> float:
    """Cosine similarity between the tag structure of the text and the template's.

    The structure is the count of transitions between start, the marks, text and end:
    `cos = sum_k a_k b_k / (|a| |b|)`, times `marks of the template / marks` where there are more, since a cosine does
    not see that the whole template was written twice, and halved where the text goes on to a further turn.
    """
    found = positions(text, template)
    wanted, given = _transitions(_wanted_units(template)), _transitions(_given_units(text, found, template))
    dot = sum(given[pair] * count for pair, count in wanted.items())
    norms = math.sqrt(sum(n * n for n in given.values()) * sum(n * n for n in wanted.values()))
    turned = 0.5 if any(mark in text for mark in TURN_MARKS) else 1.0
    return turned * dot / norms * min(1.0, len(template.marks) / max(len(found), 1))


def tag_count(text: str, template: Template = DEFAULT) -> float:
    """Share of the template's marks in place, plus one for nothing outside: (in place + clean) / (marks + 1).

    A mark is in place if it stands as often as in the template, after the marks before it, and the slot that it
    closes is filled; `clean` needs the exact template. So empty tags, repeated tags and junk around them are not paid
    in full, as a plain count of tags would.
    """
    found = positions(text, template)
    counts, wanted = Counter(mark for _, mark in found), Counter(template.marks)
    at, good, slot = 0, 0, ""
    for unit in template.units:
        if unit in FILLED:
            slot = unit
            continue
        here = next((place for place, mark in found if mark == unit and place >= at), -1)
        if here >= 0 and counts[unit] == wanted[unit]:
            good += not slot or FILLED[slot](text[at:here])
            at = here + len(unit)
        slot = ""
    return (good + strict_format(text, template)) / (len(template.marks) + 1)


def _wanted_units(template: Template) -> list[str]:
    said = {"{boxed}": "boxed"}
    return [said.get(unit, "text") if unit in FILLED else unit for unit in template.units if unit != "{text}"]


def _given_units(text: str, found: list[tuple[int, str]], template: Template) -> list[str]:
    """The marks of a text and the "text" between them, where there is any; "boxed" where the template wants a box."""
    units: list[str] = []
    at = 0
    reasoning_ends = {after for slot, after in pairwise(template.units) if slot == "{reasoning}"}
    for position, mark in [*found, (len(text), "")]:
        between = text[at:position]
        shown = has_word if mark in reasoning_ends else has_content
        if (units[-1] if units else "", mark or "end") not in template.free and shown(between):
            boxed = template.boxed_after is not None and units[-1:] == [template.boxed_after] and has_box(between)
            units.append("boxed" if boxed else "text")
        units += [mark] if mark else []
        at = position + len(mark)
    return units


def _transitions(units: list[str]) -> Counter[tuple[str, str]]:
    return Counter(zip(["start", *units], [*units, "end"], strict=True))


class _PerCompletion:
    """A reward that looks at one completion at a time, with the first mark put back if the prompt wrote it."""

    def __init__(self, name: str, measure: Callable[[str, Template], float], template: str) -> None:
        self.__name__ = name
        self._measure = measure
        self.template = read_template(template)

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        return Judged(
            self._measure(self._as_read(completion_text(completion), seen), self.template)
            for seen, completion in zip(seen_prompts(prompts, columns), completions, strict=True)
        )

    def _as_read(self, text: str, prompt: str) -> str:
        first = self.template.marks[0]
        return first + text if prompt.rstrip().endswith(first) else text


class FormatReward(_PerCompletion):
    """`format`: 1 for the exact template, else 0.

    Args:
        template: think_answer, think_boxed, think, think_code, summary, or text with slots (`rewards.form.template`).
    """

    def __init__(self, template: str = "think_answer") -> None:
        super().__init__("format", strict_format, template)


class FormatSimilarityReward(_PerCompletion):
    """`format_similarity`: between 0 and 1, 1 only for the exact template. `template` as for `format`."""

    def __init__(self, template: str = "think_answer") -> None:
        super().__init__("format_similarity", format_similarity, template)


class FormatTagCountReward(_PerCompletion):
    """`format_tag_count`: between 0 and 1, 1 only for the exact template. `template` as for `format`."""

    def __init__(self, template: str = "think_answer") -> None:
        super().__init__("format_tag_count", tag_count, template)
