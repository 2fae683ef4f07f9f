r"""MATH-500 (arXiv 2305.20050): 500 competition problems, by subject and level.

    python -m benchmarks.math500 --model DIR_OR_HUB_ID --output runs/math500 [--template r1] [--data FILE]

Asked zero-shot, with the instruction of the R1 evaluations (arXiv 2501.12948) after the problem under --template chat
and r1; the published figures are at T 0.6, top-p 0.95, 32,768 tokens, answers begun with `<think>` (--template r1).
Right = the final answer equals column `answer` under the strict profile of rewards.maths.accuracy (its conventions for
rounding, units and order are in rewards/equality.py). Data: problem, answer, subject, level.
"""

import sys

from benchmarks.harness import published
from benchmarks.harness.engine import main
from benchmarks.harness.spec import Benchmark, Source

BENCHMARK = Benchmark(
    name="math500",
    source=Source(
        "HuggingFaceH4/MATH-500",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        problems=500,
        fingerprints=("8d61c004edf7ff4b",),
    ),
    answer_column="answer",
    groups=("subject", "level"),
    samples=4,
    max_tokens=32768,
    published=published.MATH500,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK, __doc__ or ""))
