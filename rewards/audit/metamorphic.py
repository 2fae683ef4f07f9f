"""Cases made of reference answers: each gold itself, rewritings that say the same, changes that say something else.

No label is needed: whatever the reward's idea of an answer is, the same answer in other dress must be paid, and another
answer must not.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from rewards.audit.findings import WRONG, Case, Finding
from rewards.audit.rewritings import CHANGES, REWRITINGS
from rewards.maths.final_answer import boxed_answer
from rewards.rows import InputError, read_rows

COMPLETION = "<think>\nLet me work it out step by step.\n</think>\n<answer>\n\\boxed{{answer}}\n</answer>"
GOLD_COLUMNS = ("answer", "solution")
PROMPT_COLUMNS = ("problem", "question")
SEED = 5


def cases_of_golds(path: Path, completion: str, limit: int) -> list[Case]:
    """The cases of at most `limit` golds of a JSONL file, drawn with a fixed seed.

    Args:
        completion: what a completion looks like; `{answer}` stands for the answer.
    """
    if "{answer}" not in completion:
        raise InputError(f"--completion {completion!r} must hold {{answer}}, where the answer is to stand")
    rows = list(read_rows(path, completions=False))
    source = random.Random(SEED)
    if len(rows) > limit:
        rows = source.sample(rows, limit)
    cases = [case for number, row in enumerate(rows, 1) for case in _cases(number, row, completion, source, path)]
    if not cases:
        raise InputError(f"{path} holds no gold: rows need a column {' or '.join(GOLD_COLUMNS)}")
    return cases


def _cases(number: int, row: dict[str, Any], completion: str, source: random.Random, path: Path) -> Iterator[Case]:
    column = next((name for name in GOLD_COLUMNS if row.get(name) is not None), None)
    if column is None:
        raise InputError(f"{path}, row {number}: no column {' or '.join(GOLD_COLUMNS)}, only {', '.join(row)}")
    gold = short_answer(str(row[column]))
    prompt = row["prompt"] or next((row[name] for name in PROMPT_COLUMNS if row.get(name)), "")
    columns = {name: value for name, value in row.items() if name != "prompt"}
    texts = [("itself", gold, 1.0, "the gold as it is")]
    for functions, expected in ((REWRITINGS, 1.0), (CHANGES, 0.0)):
        for function in functions:
            text = function(gold, source)
            if text is not None and text.strip() != gold.strip() and not (expected == 0.0 and _equal(text, gold)):
                why = f"{'a rewriting' if expected else 'a change'} of {gold}"
                texts.append((function.__name__, text, expected, why))
    for kind, text, expected, why in texts:
        written = completion.replace("{answer}", text)
        yield Case(f"{number}-{kind}", kind, prompt, written, columns, expected, why)


def short_answer(gold: str) -> str:
    """The answer of a reference, which may be a worked solution that ends in `####` or a box."""
    if "####" in gold:
        return gold.rpartition("####")[2].strip()
    boxed = boxed_answer(gold)
    return gold.strip() if boxed is None else boxed.strip()


def _equal(text: str, gold: str) -> bool:
    """Return whether a change happens to say the same: 0.50 for 0.5, or what a phantom hides."""
    if "phantom" in gold:
        return True
    try:
        return Decimal(text) == Decimal(gold)
    except InvalidOperation:
        return False


def kinds_table(findings: Sequence[Finding]) -> str:
    """Return the result of each kind of case, a line each: the gold first, then rewritings, then changes."""
    count = Counter((finding.kind, finding.verdict) for finding in findings)
    heads = ["", "kind", "must be", "cases", "right", *(verdict.replace("_", " ") for verdict in _SHOWN)]
    rows = [heads]
    order = [("itself", "paid")]
    order += [(function.__name__, "paid") for function in REWRITINGS]
    order += [(function.__name__, "not paid") for function in CHANGES]
    for kind, wanted in order:
        counts = [count[kind, verdict] for verdict in ("right", *_SHOWN)]
        if sum(counts):
            mark = "" if sum(counts) == counts[0] else "x"
            rows.append([mark, kind.replace("_", " "), wanted, str(sum(counts)), *map(str, counts)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


_SHOWN = tuple(verdict for verdict in WRONG if verdict != "not_left_out")  # every case has an answer here
