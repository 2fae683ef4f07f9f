r"""GPQA diamond (arXiv 2311.12022): 198 graduate-level questions with four choices.

    python -m benchmarks.gpqa_diamond --model DIR_OR_HUB_ID --output runs/gpqa --template r1

From the hub only, behind a form: accept the terms at huggingface.co/datasets/Idavidrein/gpqa and log in there. The
choices stand in an order that is drawn from each question's own text, the same in every run. Right = the letter in the
box. Published figures: T 0.6, top-p 0.95, 32,768 tokens. Not run by the authors, who had no access to the hub.
Data: Question, Correct Answer, Incorrect Answer 1, 2, 3.
"""

import hashlib
import random
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.harness import published
from benchmarks.harness.engine import main
from benchmarks.harness.spec import Benchmark, Source

LETTERS = "ABCD"
SUFFIX = "\nPlease reason step by step, and put the letter of your answer within \\boxed{}."


def row(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The question with its choices in their order, and the letter of the right one."""
    question = given["Question"].strip()
    choices = [given["Correct Answer"], *(given[f"Incorrect Answer {number}"] for number in (1, 2, 3))]
    order = list(range(4))
    random.Random(hashlib.sha256(question.encode()).digest()).shuffle(order)
    lines = [f"{letter}. {str(choices[place]).strip()}" for letter, place in zip(LETTERS, order, strict=True)]
    kept = {"answer": LETTERS[order.index(0)], "domain": given.get("High-level domain")}
    return {"prompt": "\n".join([question, "", *lines]) + SUFFIX, **kept}


BENCHMARK = Benchmark(
    name="gpqa_diamond",
    source=Source(
        "Idavidrein/gpqa",
        configs=("gpqa_diamond",),
        split="train",
        revision="633f5ee89ab8ad4522a9f850766b73f62147ffdd",
        problems=198,
    ),
    answer_column="answer",
    adapt=row,
    suffix="",
    groups=("domain",),
    samples=8,
    max_tokens=32768,
    published=published.GPQA,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK, __doc__ or ""))
