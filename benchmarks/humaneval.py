"""HumanEval (arXiv 2107.03374): 164 Python functions to be written from their signature and docstring.

    python -m benchmarks.humaneval --model DIR_OR_HUB_ID --output runs/humaneval [--samples 10] [--data FILE]

Asked for the whole function in a Python block, under every template. Right = the last block passes all tests of the
data set, run in the sandbox of rewards.code.reward (python -m grpo.doctor says which one this machine has; with none
nothing is run and nothing is scored). pass@k for every k up to --samples. Data: task_id, prompt, entry_point, test.
"""

import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.harness.engine import main
from benchmarks.harness.spec import CODE_OPTIONS, Benchmark, Source

INSTRUCTION = "Complete the following Python function. Give the whole function, with its imports, in one code block.\n"


def row(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as the code reward wants it; what the prompt imports and defines is there for the tests as well."""
    return {
        "prompt": f"{INSTRUCTION}```python\n{given['prompt'].rstrip()}\n```",
        "test": given["test"],
        "entry_point": given["entry_point"],
    }


BENCHMARK = Benchmark(
    name="humaneval",
    source=Source(
        "openai/openai_humaneval",
        revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
        problems=164,
        fingerprints=("f3678ada8e477863",),
    ),
    answer_required=False,
    adapt=row,
    suffix="",
    rewards=("code",),
    reward_options=CODE_OPTIONS,
    votes=False,
    samples=1,
    max_tokens=2048,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK, __doc__ or ""))
