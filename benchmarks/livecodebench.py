"""LiveCodeBench (arXiv 2403.07974), code generation: contest problems by date, judged by their hidden tests.

    python -m benchmarks.livecodebench --model DIR_OR_HUB_ID --output runs/lcb --template r1 --after 2024-08-01

From the hub only (release_v5, about 4 GB). R1's published figures are over August 2024 to January 2025, which --after
and --before choose by default.
Right = the last Python block passes all public and private tests in the sandbox of rewards.code.reward. Not run by the
authors, who had no access to the hub. Data: question_content, starter_code, platform, difficulty, contest_date,
public_test_cases, private_test_cases, metadata.
"""

import base64
import itertools
import json
import pickletools
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
MOST_TEXTS, LONGEST_BETWEEN = 60_000, 100  # texts in the tests of a row, three pairs a test; characters between two
MOST_OPCODES = 10  # of the pickle of a text
OF_A_TEXT = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}
OF_A_TEXT |= {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
WITH_STARTER = "Write the solution into this code, and give all of it in one Python code block:\n```python\n{}\n```"
WITHOUT = "Write a Python program that reads standard input and prints the answer, in one code block."


def tests_of(text: str) -> list[dict[str, str]]:
    """Tests as JSON, or as JSON in a pickle in zlib in base64. ValueError for anything else, or too much of it."""
    if not text.lstrip().startswith("["):
        try:
            text = _pickled_text(_inflated(base64.b64decode(text)))
        except (zlib.error, ValueError, LookupError) as error:
            raise ValueError(f"private_test_cases can't be read: {error}") from None
    return _flat(text)


def _inflated(content: bytes) -> bytes:
    reader = zlib.decompressobj()
    found = reader.decompress(content, MOST_BYTES)
    if not reader.eof:
        raise ValueError(f"they are cut short, or inflate to more than {MOST_BYTES:,} bytes")
    return found


def _pickled_text(content: bytes) -> str:
    """Return the text of a pickle that holds one. It is read, not run: six bytes of a pickle may ask for 30 GB."""
    texts, last = [], ""
    for opcode, argument, _ in itertools.islice(pickletools.genops(content), MOST_OPCODES):
        last = opcode.name
        if last not in OF_A_TEXT:
            raise ValueError(f"they are a pickle with {last}, not a text")
        if "UNICODE" in last:
            texts.append(str(argument))
    if len(texts) != 1 or last != "STOP":
        raise ValueError(f"they are a pickle of {len(texts)} texts, or of more than a text")
    return texts[0]


def _flat(text: str) -> list[dict[str, str]]:
    """Read a JSON list of objects of texts, whatever the length of these texts.

    Read as any JSON, half a gigabyte of `[],[],` would take 11.
    """
    between: list[str] = []
    texts: list[str] = []
    place = 0
    decode = json.JSONDecoder().raw_decode
    while (begin := text.find('"', place)) >= 0 and len(texts) <= MOST_TEXTS:
        between.append(text[place : min(begin, place + LONGEST_BETWEEN)])
        value, place = decode(text, begin)
        texts.append(value)
    between.append(text[place : place + LONGEST_BETWEEN])
    if len(texts) > MOST_TEXTS or any(len(part) == LONGEST_BETWEEN for part in between):
        raise ValueError(f"tests are more than {MOST_TEXTS:,} texts, or more than texts")
    try:
        shape = json.loads(between[0] + "".join(f'"{number}"{part}' for number, part in enumerate(between[1:])))
    except RecursionError:
        raise ValueError("tests are nested too deeply") from None
    if not isinstance(shape, list) or not all(isinstance(one, dict) for one in shape):
        raise ValueError("tests must be a list of objects")
    if not all(isinstance(value, str) for one in shape for value in one.values()):
        raise ValueError("tests must be objects of texts")
    return [{texts[int(name)]: texts[int(value)] for name, value in one.items()} for one in shape]


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
