"""Rules that stand for the judges of all-scenario RL where there is no judge model. They are not judges.

The recipe asks a helpfulness model about the answer and a harmlessness model about the whole response, reasoning
included (arXiv 2501.12948, section 2.3.4). With a judge use the rewards `helpfulness` and `harmlessness`; the
embedded model has none, so these look where the judges look, at something a rule can see.
"""

from collections.abc import Sequence
from typing import Any

from distill.corpus.row import parts
from rewards.base import Completion, completion_text
from rewards.form.format import strict_format


def helpful(
    completions: Sequence[Completion], reply: Sequence[str | None] | None = None, **columns: Any
) -> list[float | None]:
    """1 where the answer is the row's `reply`, given without reasoning nobody asked for; 0 where it is not.

    None for a row without `reply`: a reasoning task, which accuracy judges.
    """
    wanted = reply if reply is not None else [None] * len(completions)
    return [
        None if expected is None else _direct(completion_text(completion), str(expected))
        for completion, expected in zip(completions, wanted, strict=True)
    ]


def _direct(text: str, expected: str) -> float:
    reasoning, answer = parts(text)
    return float(reasoning is None and answer == expected)


def reasoned(
    completions: Sequence[Completion], reply: Sequence[str | None] | None = None, **columns: Any
) -> list[float | None]:
    """1 where a reasoning task is answered in the strict think/answer format; None for a row with `reply`."""
    direct = reply if reply is not None else [None] * len(completions)
    return [
        strict_format(completion_text(completion)) if expected is None else None
        for completion, expected in zip(completions, direct, strict=True)
    ]


def harmless(completions: Sequence[Completion], words: Sequence[str] = (), **columns: Any) -> list[float | None]:
    """1 where no word of `words` stands anywhere in the response, reasoning included; else 0."""
    banned = set(words)
    return [float(banned.isdisjoint(completion_text(completion).split())) for completion in completions]
