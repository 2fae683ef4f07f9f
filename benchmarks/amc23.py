r"""AMC 2023 (12A and 12B): 40 problems, answers as numbers instead of the five choices.

    python -m benchmarks.amc23 --model DIR_OR_HUB_ID --output runs/amc23 [--template r1] [--data FILE]

The set the Qwen2.5-Math evaluation introduced; protocol as benchmarks.aime. With 40 problems look at the interval.
Data: problem (or question), answer.
"""

import sys

from benchmarks.harness.engine import main
from benchmarks.harness.spec import Benchmark, Source

BENCHMARK = Benchmark(
    name="amc23",
    source=Source(
        "math-ai/amc23",
        revision="80815d37005feb82cd7f8fbc6901d5d3eff43057",
        problems=40,
        fingerprints=("7a4e042dddcc4eaf",),
    ),
    answer_column="answer",
    samples=32,
    max_tokens=32768,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK, __doc__ or ""))
