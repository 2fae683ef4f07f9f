"""MBPP (arXiv 2108.07732), sanitized: the 257 small Python programs of its test split.

    python -m benchmarks.mbpp --model DIR_OR_HUB_ID --output runs/mbpp [--samples 10] [--data FILE]

Asked as in the paper: the description with its tests, which name the function; the answer in a Python block, under
every template. Right = the last block passes all tests in the sandbox of rewards.code.reward. The tests are in the
prompt: a model trained on such a reward can learn to answer them one by one. Data: task_id, prompt, test_list,
test_imports; of a file with a column split, its test rows.
"""

import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.harness.engine import main
from benchmarks.harness.spec import CODE_OPTIONS, Benchmark, Source


def row(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as the code reward wants it."""
    tests = "\n".join(given["test_list"])
    asked = f"{given['prompt'].strip()}\nThe function has to pass these tests:\n```python\n{tests}\n```\n"
    return {
        "prompt": asked + "Give the whole program in one Python code block.",
        "tests": given["test_list"],
        "test_imports": given.get("test_imports") or [],
        "split": given.get("split", "test"),
    }


BENCHMARK = Benchmark(
    name="mbpp",
    source=Source(
        "google-research-datasets/mbpp",
        configs=("sanitized",),
        revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
        problems=257,
        fingerprints=("97dad1b0bcdb17ea",),
    ),
    answer_required=False,
    adapt=row,
    keep=lambda given: given["split"] == "test",
    suffix="",
    rewards=("code",),
    reward_options=CODE_OPTIONS,
    votes=False,
    samples=1,
    max_tokens=2048,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK, __doc__ or ""))
