"""Find a completion's final answer, for the rewards of this package."""

from collections.abc import Mapping, Sequence
from typing import Any

from rewards.base import Completion, completion_text
from rewards.maths.final_answer import boxed_answer
from rewards.sections import first_turn, opened_by_prompt, split


def final_answer(seen: str, completion: Completion) -> str | None:
    r"""Return the content of the final part's last `<answer>`, else of its last `\boxed`; None without either.

    `seen` is what the model saw before it (`rewards.base.seen_prompts`). The final part is what follows the reasoning:
    an answer that stands only inside `<think>`, or after a `<think>` that is never closed, is not given.
    """
    text = first_turn(completion_text(completion))
    final = split(text, opened=opened_by_prompt(seen)).final
    if final is None:
        return None
    start, end = final.rfind("<answer>"), final.rfind("</answer>")
    if 0 <= start < end:
        return final[start + len("<answer>") : end].strip()
    return boxed_answer(final) if start < 0 else None


def column(columns: Mapping[str, Sequence[Any]], name: str, count: int) -> Sequence[Any]:
    """A column of the tasks, or that many Nones where the tasks have none."""
    return columns.get(name) or [None] * count
