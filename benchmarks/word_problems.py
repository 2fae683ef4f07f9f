"""Any file of questions and answers: `--data FILE` with question (or prompt, problem) and answer.

    python -m benchmarks.word_problems --data my_questions.jsonl --model DIR_OR_HUB_ID --output runs/mine

Asked as it stands, without an instruction. Right = the final answer (box, answer tag, "answer is", last formula or
number) equals the reference under the strict profile of rewards.maths.accuracy. Columns `subject`, `level`, `source`
and `steps` get rows of their own in the table.
"""

import sys

from benchmarks.harness.engine import main
from benchmarks.harness.spec import Benchmark

BENCHMARK = Benchmark(
    name="word_problems",
    source=None,
    suffix="",
    groups=("subject", "level", "source", "steps"),
    samples=4,
    max_tokens=1024,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK, __doc__ or ""))
