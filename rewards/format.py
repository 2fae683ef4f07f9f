"""Format rewards for the template `<think>reasoning</think> <answer>answer</answer>` of DeepSeek-R1 (arXiv
2501.12948).

`format` is all or nothing. `format_similarity` is graded, so that there is something to climb at the start; it is
worth little on its own: it says nothing about the content, so give it a weight below that of accuracy. Repeating
tags, nesting them, leaving them empty and writing around them all lower it; only the exact template reaches 1.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rewards.base import Completion, Judged, completion_text, prompt_text
from rewards.sections import TAGS, TURN_MARKS, opened_by_prompt, tag_positions

# start, <think>, text, </think>, <answer>, text, </answer>, end
TEMPLATE = Counter(
    zip(("start", "<think>", "text", "</think>", "<answer>", "text", "</answer>"),
        ("<think>", "text", "</think>", "<answer>", "text", "</answer>", "end"), strict=True)
)  # fmt: skip


def has_content(text: str) -> bool:
    """Whether a reader sees something: white space, zero-width and control characters are nothing."""
    return any(not ch.isspace() and unicodedata.category(ch)[0] != "C" for ch in text.strip())


def has_word(text: str) -> bool:
    """Whether there is a letter or a digit: dots and dashes are no reasoning."""
    return any(ch.isalnum() for ch in text)


def strict_format(text: str) -> float:
    """1 if the text is exactly one think block, then one answer block, both with content, nothing else around; else
    0.
    """
    text = text.strip()
    folded = text.lower()
    if any(folded.count(tag) != 1 for tag in TAGS) or any(mark in text for mark in TURN_MARKS):
        return 0.0
    think_ends, answer_starts = text.find("</think>"), text.find("<answer>")
    ordered = 0 < think_ends < answer_starts and text.startswith("<think>") and text.endswith("</answer>")
    if not ordered or text[think_ends + 8 : answer_starts].strip():
        return 0.0
    return float(has_word(text[7:think_ends]) and has_content(text[answer_starts + 8 : -9]))


def format_similarity(text: str) -> float:
    """Cosine similarity between the tag structure of the text and the template's.

    The structure is the count of transitions between start, the four tags, text and end:
    `cos = sum_k a_k b_k / (|a| |b|)`, times `4 / tags` when there are more than four tags, since a cosine does not
    see that the whole template was written twice.
    """
    units, at = ["start"], 0
    for position, tag in tag_positions(text):
        shown = has_word if tag == "</think>" else has_content
        units += ["text"] if shown(text[at:position]) else []
        units.append(tag)
        at = position + len(tag)
    tags = sum(unit in TAGS for unit in units)
    units += ["text"] if has_content(text[at:]) else []
    structure = Counter(zip(units, [*units[1:], "end"], strict=True))
    dot = sum(structure[pair] * count for pair, count in TEMPLATE.items())
    norms = math.sqrt(sum(n * n for n in structure.values()) * sum(n * n for n in TEMPLATE.values()))
    return dot / norms * min(1.0, len(TAGS) / max(tags, 1))


class _PerCompletion:
    """A reward that looks at one completion at a time, with the `<think>` a prompt may have opened put back."""

    def __init__(self, name: str, measure: Callable[[str], float]) -> None:
        self.__name__ = name
        self._measure = measure

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        return Judged(
            self._measure(with_opening(completion_text(completion), prompt_text(prompt)))
            for prompt, completion in zip(prompts, completions, strict=True)
        )


def with_opening(text: str, prompt: str) -> str:
    """The completion as the reader sees it: with the `<think>` that the prompt wrote."""
    return "<think>" + text if opened_by_prompt(prompt) else text


class FormatReward(_PerCompletion):
    """`format`: 1 for the exact template, else 0."""

    def __init__(self) -> None:
        super().__init__("format", strict_format)


class FormatSimilarityReward(_PerCompletion):
    """`format_similarity`: between 0 and 1, 1 only for the exact template."""

    def __init__(self) -> None:
        super().__init__("format_similarity", format_similarity)
