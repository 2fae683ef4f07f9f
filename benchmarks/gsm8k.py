"""GSM8K (arXiv 2110.14168): 1,319 grade-school word problems whose answer is a number.

    python -m benchmarks.gsm8k --model DIR_OR_HUB_ID --output runs/gsm8k [--data FILE] [--limit 50]

Asked zero-shot, with the instruction of the R1 evaluations (arXiv 2501.12948) after the question under --template
chat and r1; the model's own stop tokens end an answer. Right = the final answer (box, answer tag, "answer is", last
formula or number) equals the number after `####` under the strict profile of rewards.maths.accuracy; accuracy_lenient
is shown beside it. Data: question and answer, or solution with `####`.
"""

import sys

from benchmarks.harness import published
from benchmarks.harness.engine import main
from benchmarks.harness.spec import Benchmark, Source

BENCHMARK = Benchmark(
    name="gsm8k",
    source=Source(
        "openai/gsm8k",
        configs=("main",),
        revision="740312add88f781978c0658806c59bc2815b9866",
        problems=1319,
        shots="train",
        fingerprints=("d0fc2c6d8051fb37",),
    ),
    samples=1,
    max_tokens=2048,
    published=published.GSM8K,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK, __doc__ or ""))
