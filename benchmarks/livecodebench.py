"""LiveCodeBench (arXiv 2403.07974), code generation: contest problems by date, judged by their hidden tests.

    python -m benchmarks.livecodebench --model DIR_OR_HUB_ID --output runs/lcb --template r1 --after 2024-08-01

From the hub only (release_v5, about 4 GB). R1's published figures are over August 2024 to January 2025, which --after
and --before choose by default.
Right = the last Python block passes all public and private tests in the sandbox of rewards.code.reward. Not run by the
authors, who had no access to the hub. Data: question_content, starter_code, platform, difficulty, contest_date,
public_test_cases, private_test_cases, metadata.
"""

import base64
import io
import json
import pickle
import sys
import zlib
from collections.abc import Mapping
from typing import Any

from benchmarks.harness import published
from benchmarks.harness.engine import run_command
from benchmarks.harness.settings import parser
from benchmarks.harness.spec import CODE_OPTIONS, Benchmark, Source

FILES = tuple(f"test{number}.jsonl" for number in ("", 2, 3, 4, 5))  # together release_v5; about 4 GB
AFTER, BEFORE = "2024-08-01", "2025-01-31"  # the contests of R1's published figures
MOST_BYTES = 512 << 20  # that the tests of a row may inflate to
WITH_STARTER = "Write the solution into this code, and give all of it in one Python code block:\n```python\n{}\n```"
WITHOUT = "Write a Python program that reads standard input and prints the answer, in one code block."


class _TextOnly(pickle.Unpickler):
    """The private tests are a pickled text; anything that would import something is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"private_test_cases hold a {module}.{name}, not a text")


def tests_of(text: str) -> list[dict[str, str]]:
    """Tests as JSON, or as JSON in a pickle in zlib in base64. ValueError for anything else."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        unpacked = _TextOnly(io.BytesIO(_inflated(base64.b64decode(text)))).load()
        return json.loads(unpacked)
    except (zlib.error, pickle.UnpicklingError, EOFError, TypeError) as error:
        raise ValueError(f"private_test_cases can't be read: {error}") from None


def _inflated(content: bytes) -> bytes:
    reader = zlib.decompressobj()
    found = reader.decompress(content, MOST_BYTES)
    if not reader.eof:
        raise ValueError(f"private_test_cases are cut short, or inflate to more than {MOST_BYTES:,} bytes")
    return found


def row(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as the code reward wants it: standard input, or a method of `Solution` by name."""
    tests = [*tests_of(given["public_test_cases"]), *tests_of(given["private_test_cases"])]
    function = json.loads(given.get("metadata") or "{}").get("func_name")
    starter = given.get("starter_code") or ""
    asked = WITH_STARTER.format(starter.rstrip()) if starter else WITHOUT
    return {
        "prompt": f"{given['question_content'].strip()}\n\n{asked}",
        "inputs": [test["input"] for test in tests],
        "outputs": [test["output"] for test in tests],
        "entry_point": function if tests and tests[0].get("testtype") == "functional" else None,
        "difficulty": given.get("difficulty"),
        "contest_date": str(given["contest_date"])[:10],
    }


def benchmark(after: str = AFTER, before: str = BEFORE) -> Benchmark:
    """The problems of contests from one day to another, both as YYYY-MM-DD."""
    return Benchmark(
        name="livecodebench",
        source=Source(
            "livecodebench/code_generation_lite", files=FILES, revision="0fe84c3912ea0c4d4a78037083943e8f0c4dd505"
        ),
        answer_required=False,
        adapt=row,
        keep=lambda given: after <= given["contest_date"] <= before,
        suffix="",
        rewards=("code",),
        reward_options=CODE_OPTIONS,
        groups=("difficulty",),
        votes=False,
        samples=4,
        max_tokens=32768,
        published=published.LIVECODEBENCH,
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; --after and --before choose the contests."""
    options = parser(benchmark("", "9"), __doc__ or "")
    options.add_argument("--after", default=AFTER, metavar="DATE", help=f"first day (default {AFTER})")
    options.add_argument("--before", default=BEFORE, metavar="DATE", help=f"last day (default {BEFORE})")
    parsed = options.parse_args(arguments)
    return run_command(benchmark(parsed.after, parsed.before), parsed)


if __name__ == "__main__":
    sys.exit(main())
