"""GSM8K (arXiv 2110.14168): 1,319 grade-school word problems whose answer is a number.

    python -m benchmarks.gsm8k --model DIR_OR_HUB_ID --output runs/gsm8k [--data FILE] [--limit 50]

Asked zero-shot with the instruction of the R1 evaluations (arXiv 2501.12948), stopped by the model's own stop
tokens. Right = the final answer equals the number after `####` under the verifier's strict profile; accuracy_lenient
beside it takes the last number of a text without a stated answer in more cases.
"""

import sys

from benchmarks.engine import main
from benchmarks.spec import Benchmark, Published, Source

BENCHMARK = Benchmark(
    name="gsm8k",
    source=Source("openai/gsm8k", configs=("main",), problems=1319),
    samples=1,
    max_tokens=2048,
    published=(Published("Qwen2.5-0.5B-Instruct", {"pass@1": 0.496}, "Qwen2.5 (greedy, 4-shot)"),),
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK, __doc__ or ""))
