"""Length rewards: `overlong` near the token limit, `cosine` by correctness and length, `len` within a group.

Lengths are tokens where `completion_ids` are given (the trainer gives them), else an estimate from the text. The
limit is the option `max_length`, or the column `max_completion_length` that the trainer adds.

Alone, both are farmed at once: `overlong` is at its best for an empty completion, so it only makes sense beside
`accuracy`. `cosine` holds accuracy already (give one or the other a weight, not both in full), but where the policy is
mostly wrong it pays for length, which is farmed by padding: put `repetition` beside it, as its authors do. `len` pays
among right completions for being short alone: it belongs beside `accuracy`, with less weight.
"""

import math
from collections.abc import Sequence
from typing import Any

from rewards.base import Completion, Judged, Reward, completion_text, get

CHARACTERS_A_TOKEN = 4  # of ASCII text, where there are no ids; other characters count as a token each


def lengths(completions: Sequence[Completion], completion_ids: Sequence[Sequence[int]] | None) -> list[int]:
    """Tokens of each completion: counted from its ids, the stop token included, or estimated from its text."""
    if completion_ids is not None:
        return [len(ids) for ids in completion_ids]
    return [_estimated(completion_text(completion)) for completion in completions]


def _estimated(text: str) -> int:
    ascii_characters = sum(ch.isascii() for ch in text)
    return -(-ascii_characters // CHARACTERS_A_TOKEN) + len(text) - ascii_characters


def overlong_penalty(length: int, max_length: int, buffer: int) -> float:
    """Soft overlong punishment of DAPO (arXiv 2503.14476, eq. 13).

    0 up to max_length - buffer; then ((max_length - buffer) - length) / buffer, which is -1 at max_length; -1 beyond.
    With buffer 0 there is no slope. All in tokens.
    """
    if length <= max_length - buffer:
        return 0.0
    return -1.0 if length >= max_length else (max_length - buffer - length) / buffer


def cosine_length(length: int, max_length: int, *, short: float, long: float) -> float:
    """Return long + (short - long) / 2 * (1 + cos(pi * length / max_length)).

    That is `short` at length 0 and `long` at max_length.

    The cosine reward of "Demystifying Long Chain-of-Thought Reasoning in LLMs" (arXiv 2502.03373), as open-r1 has it.
    Beyond max_length it stays at `long`; the bare formula would rise again.
    """
    progress = min(length / max_length, 1.0)
    return long + (short - long) / 2 * (1 + math.cos(math.pi * progress))


class _Limit:
    """The token limit of each completion: the option, else the column the trainer gives."""

    def __init__(self, name: str, max_length: int | None) -> None:
        if max_length is not None and max_length < 1:
            raise ValueError(f"{name}.max_length must be at least 1 token, got {max_length}")
        self.name, self.max_length = name, max_length

    def of(self, column: Sequence[int] | None, rows: int) -> list[int]:
        if self.max_length is not None:
            return [self.max_length] * rows
        if column is None:
            raise ValueError(f"{self.name} needs the option max_length (tokens), or column max_completion_length")
        return [int(limit) for limit in column]


class OverlongPenalty:
    """`overlong`: 0 for a completion well under the token limit, down to -1 at the limit.

    Args:
        max_length: tokens; by default the trainer's max_completion_length.
        buffer: tokens before the limit over which the penalty grows; by default a fifth of max_length (DAPO: 4,096 of
        20,480).
    """

    def __init__(self, max_length: int | None = None, buffer: int | None = None) -> None:
        self._limit = _Limit("overlong", max_length)
        if buffer is not None and (buffer < 0 or (max_length is not None and buffer > max_length)):
            raise ValueError(f"overlong.buffer must be between 0 and max_length, got {buffer}")
        self.buffer = buffer
        self.__name__ = "overlong"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        max_completion_length: Sequence[int] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        counted = lengths(completions, completion_ids)
        limits = self._limit.of(max_completion_length, len(counted))
        return [
            overlong_penalty(length, limit, limit // 5 if self.buffer is None else min(self.buffer, limit))
            for length, limit in zip(counted, limits, strict=True)
        ]


class _OfCorrect:
    """A reward that depends on the length and on whether another one, `of`, says that a completion is correct."""

    def __init__(self, of: str) -> None:
        self.inner: Reward = get(of)

    def _verdicts(self, call: dict[str, Any]) -> tuple[list[bool | None], Judged]:
        """Return whether each completion is correct (0.5 or more; None if unknown), and an empty result to fill."""
        values = self.inner(**call)
        result = Judged()
        if isinstance(values, Judged):
            result = Judged(outcomes=values.outcomes, messages=values.messages)
        return [None if value is None else value >= 0.5 for value in values], result

    def close(self) -> None:
        """Free what the inner reward holds."""
        close = getattr(self.inner, "close", None)
        if close is not None:
            close()


class CosineLengthReward(_OfCorrect):
    """`cosine`: a correct completion earns more the shorter it is, a wrong one loses less the longer it is.

    Args:
        max_length: tokens at which the cosine ends; by default the trainer's max_completion_length.
        of: the reward that says what is correct (0.5 or more), by name.
        correct: values at length 0 and at max_length of a correct completion (open-r1's defaults).
        wrong: the same of a wrong one.
        exceeded: value at max_length and beyond, whatever was said: it was cut. None: the values at max_length.
    """

    def __init__(
        self,
        max_length: int | None = None,
        *,
        of: str = "accuracy",
        correct: tuple[float, float] = (1.0, 0.5),
        wrong: tuple[float, float] = (-1.0, -0.5),
        exceeded: float | None = -1.0,
    ) -> None:
        self._limit = _Limit("cosine", max_length)
        for name, values in (("correct", correct), ("wrong", wrong)):
            if not (isinstance(values, list | tuple) and len(values) == 2 and all(map(_is_number, values))):
                raise ValueError(f"cosine.{name} must be two numbers, at length 0 and at max_length, got {values!r}")
        if min(correct) < max(wrong):
            raise ValueError(f"cosine.correct must not be below cosine.wrong, got {correct} and {wrong}")
        if exceeded is not None and not _is_number(exceeded):
            raise ValueError(f"cosine.exceeded must be a number, or null for none, got {exceeded!r}")
        super().__init__(of)
        self.correct, self.wrong, self.exceeded = correct, wrong, exceeded
        self.__name__ = "cosine"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        max_completion_length: Sequence[int] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        counted = lengths(completions, completion_ids)
        limits = self._limit.of(max_completion_length, len(counted))
        call = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids, **columns}
        verdicts, result = self._verdicts(call)
        for correct, length, limit in zip(verdicts, counted, limits, strict=True):
            result.append(self._value(correct, length, limit))
        return result

    def _value(self, correct: bool | None, length: int, limit: int) -> float | None:
        if correct is None:
            return None
        if length >= limit and self.exceeded is not None:
            return self.exceeded
        short, long = self.correct if correct else self.wrong
        return cosine_length(length, limit, short=short, long=long)


def relative_length(length: int, shortest: int, longest: int, *, correct: bool) -> float:
    """Return 1/2 - (length - shortest) / (longest - shortest), for a wrong completion at most 0.

    The length reward of Kimi k1.5 (arXiv 2501.12599, section 2.3.3): between 0.5 for the shortest and -0.5 for the
    longest of a prompt's completions; 0 where all are as long.
    """
    if longest == shortest:
        return 0.0
    value = 0.5 - (length - shortest) / (longest - shortest)
    return value if correct else min(0.0, value)


class RelativeLengthReward(_OfCorrect):
    """`len`: the shorter among a prompt's completions earn more, the wrong ones nothing for it.

    Args:
        of: the reward that says what is correct (0.5 or more), by name.
    """

    def __init__(self, of: str = "accuracy") -> None:
        super().__init__(of)
        self.__name__ = "len"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        counted = lengths(completions, completion_ids)
        call = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids, **columns}
        verdicts, result = self._verdicts(call)
        keys = [repr(prompt) for prompt in prompts]
        of_prompt: dict[str, list[int]] = {}
        for key, length in zip(keys, counted, strict=True):
            of_prompt.setdefault(key, []).append(length)
        for key, length, correct in zip(keys, counted, verdicts, strict=True):
            bounds = min(of_prompt[key]), max(of_prompt[key])
            result.append(None if correct is None else relative_length(length, *bounds, correct=correct))
        return result


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
