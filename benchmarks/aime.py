r"""AIME 2024 and 2025: 30 problems a year whose answers are whole numbers from 0 to 999.

    python -m benchmarks.aime --year 2024 --model DIR_OR_HUB_ID --output runs/aime24 --template r1 [--data FILE]

The published protocol (arXiv 2501.12948): T 0.6, top-p 0.95, 32,768 tokens, 64 samples, pass@1 = mean over samples,
cons@64 = majority vote, "Please reason step by step, and put your final answer within \boxed{}." after the problem, no
system prompt, answers begun with `<think>` (--template r1). One sample of 30 problems says little: the standard
deviation over seeds is 5 to 15 points (arXiv 2504.07086), so look at the interval. Data: problem, answer.
"""

import sys

from benchmarks.harness import published
from benchmarks.harness.engine import run_command
from benchmarks.harness.settings import parser
from benchmarks.harness.spec import Benchmark, Source
from envs import DataError

SOURCES = {
    2024: Source(
        "HuggingFaceH4/aime_2024",
        split="train",
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        problems=30,
        fingerprints=("c94360b2bec143a5",),
    ),
    2025: Source(
        "yentinglin/aime_2025",
        split="train",
        revision="6f71d77b0b89b9dabe07ab466c51df33f514df7f",
        problems=30,
        fingerprints=("29dc0dd3e3d8c34f",),
    ),
}


def benchmark(year: int = 2024) -> Benchmark:
    """AIME of that year; DataError for one that is not known here."""
    if year not in SOURCES:
        raise DataError(f"aime: year must be one of {', '.join(map(str, SOURCES))}, got {year}")
    return Benchmark(
        name="aime",
        source=SOURCES[year],
        variant=str(year),
        answer_column="answer",
        samples=64,
        max_tokens=32768,
        published=published.AIME24 if year == 2024 else (),
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; --year chooses the hub's data set and what is published about it."""
    options = parser(benchmark(), __doc__ or "")
    options.add_argument("--year", type=int, choices=sorted(SOURCES), default=2024, help="(default 2024)")
    parsed = options.parse_args(arguments)
    return run_command(benchmark(parsed.year), parsed)


if __name__ == "__main__":
    sys.exit(main())
