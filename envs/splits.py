"""Seeded order and held-out tasks. Training and test never share a prompt."""

import random
from collections.abc import Sequence

from envs.base import DataError, Task, prompt_key

TestSize = int | float | None


def seeded(tasks: Sequence[Task], seed: int, purpose: str) -> list[Task]:
    """The tasks in an order that depends on the seed and the purpose alone."""
    order = list(tasks)
    random.Random(f"{purpose}:{seed}").shuffle(order)
    return order


def held_out_count(available: int, test_size: TestSize, *, share: float = 0.1, at_most: int = 200) -> int:
    """Return how many of `available` distinct prompts to hold out; at least one stays in training.

    An int is a number of prompts, a float below 1 a share of them, None is `share`, but no more than `at_most`.
    A number that would leave nothing to train on becomes half of what there is.
    """
    if available < 2:
        return 0
    if test_size is None:
        return max(1, min(at_most, int(share * available)))
    if isinstance(test_size, bool) or test_size < 0 or (isinstance(test_size, float) and not test_size < 1):
        raise DataError(f"test_size must be a whole number, or a share of at least 0 and below 1, got {test_size}")
    count = int(test_size * available) if isinstance(test_size, float) else test_size
    return count if count < available else available // 2


def split_tasks(
    tasks: Sequence[Task],
    *,
    seed: int,
    test_size: TestSize = None,
    limit: int | None = None,
    share: float = 0.1,
    at_most: int = 200,
) -> tuple[dict[str, list[Task]], list[str]]:
    """Shuffle and hold out; returns the splits and notes on what was not as asked.

    Held-out prompts are distinct. Rows that repeat one of them are left out of training; repeats among the
    training rows stay. `limit` caps each split after the split is made, so that it never moves a task across.
    """
    order = seeded(tasks, seed, "order")
    distinct = list({prompt_key(task.prompt): task for task in reversed(order)}.values())[::-1]
    count = held_out_count(len(distinct), test_size, share=share, at_most=at_most)
    test = distinct[:count]
    train, notes = without_prompts(order, test, expected=count)
    if isinstance(test_size, int) and count != test_size:
        notes.append(f"test_size is {test_size} but there are {len(distinct)} distinct prompts: {count} held out")
    return cut({"train": train, "test": test}, limit), notes


def without_prompts(tasks: Sequence[Task], test: Sequence[Task], *, expected: int = 0) -> tuple[list[Task], list[str]]:
    """`tasks` without those whose prompt is in `test`, with a note when more than the `expected` number went."""
    held_out = {prompt_key(task.prompt) for task in test}
    kept = [task for task in tasks if prompt_key(task.prompt) not in held_out]
    repeats = len(tasks) - len(kept) - expected
    notes = [f"{repeats} rows repeat a held-out prompt: left out of training"] if repeats > 0 else []
    return kept, notes


def cut(splits: dict[str, list[Task]], limit: int | None) -> dict[str, list[Task]]:
    """The first `limit` tasks of each split; all of them for None."""
    if limit is not None and limit < 1:
        raise DataError(f"limit must be at least 1, got {limit}")
    return {name: tasks[:limit] for name, tasks in splits.items()}
