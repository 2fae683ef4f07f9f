"""The task of the embedded miniature model: `3 + 5 + 9 =`, reasoned in number words, with an imperfect cold start.

Everything is words separated by single spaces from the small vocabulary `WORDS`. A worked solution reads
`<think> three plus five is eight . eight plus nine is seventeen . </think> <answer> 17 </answer>`.
"""

import random
from collections.abc import Sequence

from envs.base import DataError, Env, Task
from envs.splits import cut, seeded

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
# fmt: off
ENGLISH = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)
# fmt: on
CHINESE = tuple("零一二三四五六七八九十")
LINKS = {"en": ("plus", "is"), "zh": ("加", "等于")}
LARGEST_FIRST, LARGEST = 18, 27  # nine plus nine, and nine more
WORDS: tuple[str, ...] = (
    *(str(number) for number in range(LARGEST + 1)),
    *("+", "=", "."),
    *TAGS,
    *ENGLISH,
    *LINKS["en"],
    *CHINESE,
    *LINKS["zh"],
)


def digit_sums(*, test_size: int = 200, seed: int = 0, limit: int | None = None) -> Env:
    """Sums of three digits: 1,000 problems, of which `test_size` are held out of the cold start and of training."""
    if not 1 <= test_size < 1000:
        raise DataError(f"digit_sums: test_size must be at least 1 and below 1000, got {test_size}")
    order = seeded([_task(number) for number in range(1000)], seed, "digit_sums")
    splits = {"train": order[test_size:], "test": order[:test_size]}
    return Env("digit_sums", cut(splits, limit), reward_names=("accuracy", "format", "language"))


def _task(number: int) -> Task:
    digits = [int(digit) for digit in f"{number:03d}"]
    prompt = " + ".join(str(digit) for digit in digits) + " ="
    return Task(prompt, prompt, {"answer": str(sum(digits)), "language": "en"})


def number_words(number: int, language: str) -> str:
    """A number from 0 to 27 in words of a language: `twenty one`, `二 十 一`."""
    if language == "en":
        return ENGLISH[number] if number <= 20 else f"{ENGLISH[20]} {ENGLISH[number - 20]}"
    tens, ones = divmod(number, 10)
    if tens == 0:
        return CHINESE[ones]
    return " ".join(([CHINESE[tens]] if tens > 1 else []) + ["十"] + ([CHINESE[ones]] if ones else []))


def chain(task: Task, language: str = "en") -> str:
    """The worked solution of a task, without fault, in one language."""
    return imperfect_chain(task, random.Random(0), wrong=0.0, mixed=0.0, broken=0.0, target_language=language)


def imperfect_chain(
    task: Task,
    rng: random.Random,
    *,
    wrong: float,
    mixed: float,
    broken: float,
    mixed_wrong: float | None = None,
    target_language: str = "en",
) -> str:
    """A worked solution with three faults, each with its probability.

    wrong: one of the two steps is miscalculated and the answer follows from it. mixed: a step, or all from some
    word on, is in the other language. broken: a tag is missing, doubled or misplaced. The faults are independent,
    unless mixed_wrong is given: then each step is wrong with its own probability, mixed_wrong where its result is in
    the other language and wrong where it is not.
    """
    if target_language not in LINKS:
        raise DataError(f"digit_sums: target_language must be one of {', '.join(LINKS)}, got {target_language!r}")
    a, b, c = (int(word) for word in str(task.prompt).split() if word.isdecimal())
    switched: range | None = None
    if mixed_wrong is None:
        faulty = {rng.randrange(2)} if rng.random() < wrong else set()
    else:
        switched = _switched_units(rng, mixed)
        chances = [mixed_wrong if UNITS_A_STEP * step + RESULT in switched else wrong for step in range(2)]
        faulty = {step for step, chance in enumerate(chances) if rng.random() < chance}
    first = _slip(a + b, LARGEST_FIRST, rng) if 0 in faulty else a + b
    second = _slip(first + c, LARGEST, rng) if 1 in faulty else first + c
    steps = [(a, b, first), (first, c, second)]
    if switched is None:
        switched = _switched_units(rng, mixed)
    reasoning = _reasoning(steps, target_language, switched)
    layout = rng.choice(BROKEN_LAYOUTS) if rng.random() < broken else SOUND_LAYOUT
    return layout.format(reasoning=reasoning, answer=second)


UNITS_A_STEP, RESULT = 6, 4  # number, plus, number, is, number, full stop; the last number's place
SOUND_LAYOUT = "<think> {reasoning} </think> <answer> {answer} </answer>"
BROKEN_LAYOUTS = (
    "{reasoning} </think> <answer> {answer} </answer>",
    "<think> {reasoning} <answer> {answer} </answer>",
    "<think> {reasoning} </think> {answer} </answer>",
    "<think> {reasoning} </think> <answer> {answer}",
    "<think> {reasoning} </think> {answer}",
    "{reasoning} <answer> {answer} </answer>",
    "<think> <think> {reasoning} </think> <answer> {answer} </answer>",
    "<think> {reasoning} </think> <answer> {answer} </answer> <answer> {answer} </answer>",
    "<think> {reasoning} <answer> {answer} </answer> </think>",
    "<think> {reasoning} </think> <answer> {answer} </answer> {answer} .",
    "<answer> {answer} </answer> <think> {reasoning} </think>",
)


def _slip(number: int, largest: int, rng: random.Random) -> int:
    """A wrong result close to the right one that is still a possible result."""
    return rng.choice([number + by for by in (-2, -1, 1, 2) if 0 <= number + by <= largest])


def _switched_units(rng: random.Random, mixed: float) -> range:
    """Choose the units of reasoning in the other language: one step, or everything from some unit on."""
    if rng.random() >= mixed:
        return range(0)
    if rng.random() < 0.5:
        start = UNITS_A_STEP * rng.randrange(2)
        return range(start, start + UNITS_A_STEP)
    return range(rng.randrange(1, 2 * UNITS_A_STEP - 1), 2 * UNITS_A_STEP)


def _reasoning(steps: Sequence[tuple[int, int, int]], language: str, switched: range) -> str:
    other = "zh" if language == "en" else "en"
    words = []
    for step, (left, right, result) in enumerate(steps):
        for place in range(UNITS_A_STEP):
            spoken = other if step * UNITS_A_STEP + place in switched else language
            plus, equals = LINKS[spoken]
            numbers = [number_words(number, spoken) for number in (left, right, result)]
            words.append([numbers[0], plus, numbers[1], equals, numbers[2], "."][place])
    return " ".join(words)
