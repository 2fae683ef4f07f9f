"""Countdown: reach a target from given numbers with + - * /. Every problem has a solution, found while it was made."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from envs.answers import column, final_answer
from envs.base import DataError, Env, Task
from envs.expressions import ExpressionError, evaluate
from envs.splits import split_tasks
from rewards.base import Completion, seen_prompts

PROMPT = (
    "Using the numbers {numbers}, write an expression that equals {target}. You may use +, -, *, / and parentheses, "
    "and {rule}. Give only the expression between <answer> and </answer>, for example <answer>(1 + 2) * 3</answer>."
)
RULES = {True: "every number exactly once", False: "each number at most once"}
TRIES_A_PROBLEM = 1000


def countdown(
    *,
    numbers: int = 4,
    low: int = 1,
    high: int = 50,
    max_target: int = 100,
    use_all: bool = False,
    size: int = 1000,
    test_size: int | float | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Env:
    """`size` distinct problems of that many `numbers` from `low` to `high`, each with a target up to `max_target`."""
    if not 2 <= numbers <= 8:
        raise DataError(f"countdown: numbers must be from 2 to 8, got {numbers}")
    if not 1 <= low <= high:
        raise DataError(f"countdown: low must be at least 1 and not above high, got {low} and {high}")
    if size < 1 or max_target < 1:
        raise DataError(f"countdown: size and max_target must be at least 1, got {size} and {max_target}")
    rng = random.Random(f"countdown:{seed}")
    tasks: dict[str, Task] = {}
    for _ in range(TRIES_A_PROBLEM * size):
        if len(tasks) == size:
            break
        given = [rng.randint(low, high) for _ in range(numbers)]
        target, solution = _combine(given, rng)
        if target <= max_target and target not in given:
            task = _task(given, target, solution, use_all)
            tasks.setdefault(task.id, task)
    if not tasks:
        raise DataError(f"countdown: no target up to {max_target} found for {numbers} numbers from {low} to {high}")
    splits, notes = split_tasks(list(tasks.values()), seed=seed, test_size=test_size, limit=limit)
    if len(tasks) < size:
        notes.append(f"size is {size} but only {len(tasks)} distinct problems were found")
    return Env("countdown", splits, reward_names=("envs.countdown:countdown_reward",), notes=notes)


def _task(given: Sequence[int], target: int, solution: str, use_all: bool) -> Task:
    given = sorted(given)
    columns = {"answer": solution, "numbers": given, "target": target, "use_all": use_all, "language": "en"}
    prompt = PROMPT.format(numbers=", ".join(str(number) for number in given), target=target, rule=RULES[use_all])
    return Task(f"{given} -> {target}", prompt, columns)


def _combine(given: Sequence[int], rng: random.Random) -> tuple[int, str]:
    """Joins two random numbers by a random sign until one is left; every result is a whole number above 0."""
    pool = [(number, str(number)) for number in given]
    while len(pool) > 1:
        rng.shuffle(pool)
        (left, left_text), (right, right_text) = pool.pop(), pool.pop()
        if left < right:
            left, left_text, right, right_text = right, right_text, left, left_text
        results = {"+": left + right, "*": left * right}
        if left > right:
            results["-"] = left - right
        if left % right == 0:
            results["/"] = left // right
        sign = rng.choice(sorted(results))
        pool.append((results[sign], f"({left_text} {sign} {right_text})"))
    value, text = pool[0]
    return value, text[1:-1]


def countdown_reward(
    prompts: Sequence[Completion],
    completions: Sequence[Completion],
    completion_ids: Sequence[Sequence[int]] | None = None,
    **columns: Any,
) -> list[float | None]:
    """1 where the final answer is an expression of the given numbers with the target as its exact value, else 0.

    Each number may be used once, and must be under `use_all`. None for tasks without numbers or target.
    """
    count = len(completions)
    numbers, target, use_all = (column(columns, name, count) for name in ("numbers", "target", "use_all"))
    answers = [final_answer(*pair) for pair in zip(seen_prompts(prompts, columns), completions, strict=True)]
    return [
        None if given is None or goal is None else float(_solves(answer, given, goal, bool(every)))
        for answer, given, goal, every in zip(answers, numbers, target, use_all, strict=True)
    ]


def _solves(answer: str | None, numbers: Sequence[int], target: int, use_all: bool) -> bool:
    if answer is None:
        return False
    try:
        value, used = evaluate(answer)
    except ExpressionError:
        return False
    allowed = Counter(used) == Counter(numbers) if use_all else Counter(used) <= Counter(numbers)
    return allowed and value == target
