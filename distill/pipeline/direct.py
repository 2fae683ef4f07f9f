"""Prompts that want a direct answer, without reasoning: a number in words, to be given in figures.

What all-scenario RL mixes with reasoning tasks, and what the reward `helpful` of `distill.pipeline.rewards` judges.
"""

from collections.abc import Sequence

from envs.base import DataError, Env, Task
from envs.digit_sums import LARGEST, number_words
from envs.splits import seeded

TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def direct(
    *, template: str = "{words} =", languages: Sequence[str] = ("en", "zh"), largest: int = LARGEST, seed: int = 0
) -> Env:
    """Numbers in words from 0 to `largest` in each language, a quarter of them held out.

    Chinese goes to 27, English to 99. Columns: answer, reply (what is to be said, and nothing else) and language.
    """
    if "{words}" not in template:
        raise DataError(f"direct: template must hold {{words}}, got {template!r}")
    unknown = [language for language in languages if language not in ("en", "zh")]
    if unknown or not languages:
        raise DataError(f"direct: languages must be some of en, zh, got {list(languages)}")
    most = 99 if tuple(languages) == ("en",) else LARGEST
    if not 3 <= largest <= most:
        raise DataError(f"direct: largest must be from 3 to {most} in {', '.join(languages)}, got {largest}")
    tasks = []
    for language in languages:
        for number in range(largest + 1):
            columns = {"answer": str(number), "reply": str(number), "language": "en"}
            tasks.append(Task(f"{number} {language}", template.replace("{words}", words(number, language)), columns))
    order = seeded(tasks, seed, "direct")
    held_out = len(order) // 4
    splits = {"train": order[held_out:], "test": order[:held_out]}
    return Env("direct", splits, reward_names=("distill.pipeline.rewards:helpful",))


def words(number: int, language: str) -> str:
    """The number in words: `twenty one`, `二 十 一`; above 27 in English alone."""
    if number <= LARGEST or language != "en":
        return number_words(number, language)
    tens, ones = divmod(number, 10)
    ten = "twenty" if tens == 2 else TENS[tens - 3]
    return f"{ten} {number_words(ones, 'en')}" if ones else ten
