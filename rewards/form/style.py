"""Style rewards: `repetition`, a penalty for saying the same again, and `reasoning_steps`, for showing the steps.

Alone they are farmed at once: an empty completion repeats nothing, and steps of idle text are cheap. Give them a small
weight beside `accuracy`, or open them with a gate (`reward_gates: {reasoning_steps: accuracy}`).
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from rewards.base import Completion, completion_text, seen_prompts
from rewards.sections import opened_by_prompt, split

# Scripts written without blanks: each character is a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")
_NUMBERED = re.compile(r"(?:step )?\d{1,3}[.):](?!\d)", re.ASCII)
_BULLETS = ("- ", "* ", "• ")
_TRANSITIONS = ("first,", "second,", "third,", "next,", "then,", "finally,")
FEWEST_WORDS = 3  # of a step; less is a heading


def repetition_penalty(words: Sequence[Any], ngram_size: int, max_penalty: float) -> float:
    """max_penalty * (1 - distinct n-grams / n-grams); 0 where there is no n-gram.

    Appendix C.2 of "Demystifying Long Chain-of-Thought Reasoning in LLMs" (arXiv 2502.03373), as in its code and in
    open-r1.
    """
    total = len(words) - ngram_size + 1
    if total < 1:
        return 0.0
    distinct = set(zip(*(itertools.islice(words, start, None) for start in range(ngram_size)), strict=False))
    return max_penalty * (1 - len(distinct) / total) + 0.0  # 0, not -0


class RepetitionPenalty:
    """`repetition`: between 0 (nothing is said twice) and max_penalty (nothing is new).

    Args:
        ngram_size: words of what counts as said again (open-r1: 3); a character of a script without blanks is a word.
        max_penalty: zero or negative.
        tokens: count n-grams of completion_ids instead of words, where they are given.
    """

    def __init__(self, ngram_size: int = 3, max_penalty: float = -1.0, tokens: bool = False) -> None:
        if ngram_size < 1:
            raise ValueError(f"repetition.ngram_size must be at least 1, got {ngram_size}")
        if max_penalty > 0:
            raise ValueError(f"repetition.max_penalty must not be positive, got {max_penalty}")
        self.ngram_size, self.max_penalty, self.tokens = ngram_size, max_penalty, tokens
        self.__name__ = "repetition"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        if self.tokens and completion_ids is not None:
            sequences: list[Sequence[Any]] = list(completion_ids)
        else:
            sequences = [_WORD.findall(completion_text(completion).lower()) for completion in completions]
        return [repetition_penalty(words, self.ngram_size, self.max_penalty) for words in sequences]


def count_steps(text: str) -> int:
    """Lines that begin as a step of reasoning does, each counted once however often it is written.

    "Step 3:", "3.", "3)", a bullet, or First, Second, Third, Next, Then, Finally with a comma; and three words or more
    after it that no other step has.
    """
    steps = set()
    for line in text.splitlines():
        words = _without_marker(line.strip()[:2000])
        if words is not None and len(words) >= FEWEST_WORDS:
            steps.add(tuple(words))
    return len(steps)


def _without_marker(line: str) -> list[str] | None:
    """The words of a step; None if the line is none."""
    folded = line.lower().lstrip("#*_ ") if line.startswith(("#", "**", "__")) else line.lower()
    numbered = _NUMBERED.match(folded)
    if numbered:
        rest = folded[numbered.end() :]
    else:
        marker = next((mark for mark in (*_BULLETS, *_TRANSITIONS) if folded.startswith(mark)), None)
        if marker is None:
            return None
        rest = folded[len(marker) :]
    return [word for word in _WORD.findall(rest) if any(ch.isalnum() for ch in word)]


class ReasoningStepsReward:
    """`reasoning_steps`: min(1, steps / wanted), steps being counted in the think tags if there are any.

    The idea and the default of 3 are open-r1's `reasoning_steps_reward`; there "First, First, First," earns all of it,
    here a step needs words of its own.
    """

    def __init__(self, wanted: int = 3) -> None:
        if wanted < 1:
            raise ValueError(f"reasoning_steps.wanted must be at least 1, got {wanted}")
        self.wanted = wanted
        self.__name__ = "reasoning_steps"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        values: list[float | None] = []
        for seen, completion in zip(seen_prompts(prompts, columns), completions, strict=True):
            text = completion_text(completion)
            reasoning = split(text, opened=opened_by_prompt(seen)).reasoning
            values.append(min(1.0, count_steps(text if reasoning is None else reasoning) / self.wanted))
        return values
