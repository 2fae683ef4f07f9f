"""Generated arithmetic: `What is 7 + 5?` for every combination of operands and operations, or a sample of many."""

import random
import sys
from collections.abc import Sequence

from envs.base import DataError, Env, Task
from envs.splits import split_tasks

ALL_UP_TO = 20_000
OPERATIONS = ("+", "-", "*")


def arithmetic(
    *,
    operations: str | Sequence[str] = ("+", "*"),
    low: int = 1,
    high: int = 9,
    terms: int = 2,
    template: str = "What is {expression}?",
    size: int | None = None,
    test_size: int | float | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Env:
    """Sums, differences and products of whole numbers.

    With the defaults 162 problems, 48 of them held out. Up to 20,000 combinations are all listed; of more,
    `size` (20,000) distinct ones are drawn.
    """
    if isinstance(operations, str):
        operations = operations.replace(",", " ").replace(" ", "")
    operations = tuple(dict.fromkeys(operations))
    _check(operations, low, high, terms, template, size)
    total = (high - low + 1) ** terms * len(operations) ** (terms - 1)
    if total > sys.maxsize:
        raise DataError(f"arithmetic: {terms} terms from {low} to {high} are too many combinations to draw from")
    rng = random.Random(f"arithmetic:{seed}")
    chosen = rng.sample(range(total), min(total, size or ALL_UP_TO))
    tasks = [_task(number, operations, low, high, terms, template) for number in sorted(chosen)]
    splits, notes = split_tasks(tasks, seed=seed, test_size=test_size, limit=limit, share=0.3, at_most=500)
    return Env("arithmetic", splits, notes=notes)


def _check(operations: Sequence[str], low: int, high: int, terms: int, template: str, size: int | None) -> None:
    unknown = [operation for operation in operations if operation not in OPERATIONS]
    if unknown or not operations:
        raise DataError(f"arithmetic: operations must be some of {' '.join(OPERATIONS)}, got {list(operations)}")
    if low > high:
        raise DataError(f"arithmetic: low must not exceed high, got {low} and {high}")
    if not 2 <= terms <= 10:
        raise DataError(f"arithmetic: terms must be from 2 to 10, got {terms}")
    if "{expression}" not in template:
        raise DataError(f"arithmetic: template must hold {{expression}}, got {template!r}")
    if size is not None and size < 1:
        raise DataError(f"arithmetic: size must be at least 1, got {size}")


def _task(number: int, operations: Sequence[str], low: int, high: int, terms: int, template: str) -> Task:
    """The combination of that number: its digits in mixed radix are the operands, then the operations."""
    operands, signs = [], []
    for _ in range(terms):
        number, digit = divmod(number, high - low + 1)
        operands.append(low + digit)
    for _ in range(terms - 1):
        number, digit = divmod(number, len(operations))
        signs.append(operations[digit])
    written = [str(operand) if operand >= 0 else f"({operand})" for operand in operands]
    expression = written[0] + "".join(f" {sign} {word}" for sign, word in zip(signs, written[1:], strict=True))
    columns = {"answer": str(evaluate(operands, signs)), "language": "en"}
    return Task(expression, template.replace("{expression}", expression), columns)


def evaluate(operands: Sequence[int], signs: Sequence[str]) -> int:
    """The value of `operands[0] signs[0] operands[1] ...`, products first."""
    total, product = 0, operands[0]
    for sign, operand in zip(signs, operands[1:], strict=True):
        if sign == "*":
            product *= operand
        else:
            total, product = total + product, operand if sign == "+" else -operand
    return total + product
