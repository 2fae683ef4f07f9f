r"""MGSM (arXiv 2210.03057): 250 problems of GSM8K in eleven languages; accuracy and language consistency of each.

    python -m benchmarks.mgsm --model DIR_OR_HUB_ID --output runs/mgsm [--languages de,ja] [--data FILE]

The question in its language, then, in English, "Please reason step by step in German, and put your final answer
within \boxed{}." (under every template: it names the language that is asked for). Right = the final answer equals the
number, strict profile. `language` is the share of words of the reasoning in the language asked for. Data: lang,
question, answer (or answer_number).
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.engine import run_command
from benchmarks.harness.settings import parser
from benchmarks.harness.spec import Benchmark, Source
from envs import DataError
from rewards.printable import say

LANGUAGES = {
    "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "ja": "Japanese",
    "ru": "Russian", "sw": "Swahili", "te": "Telugu", "th": "Thai", "zh": "Chinese",
}  # fmt: skip
FINGERPRINTS = {  # of the 250 problems of each language, see benchmarks.harness.problems.fingerprint
    "bn": 0xB7FCC336FE4DA3ED, "de": 0xCDAFEA69015430DD, "en": 0xF4FB94F0B1454421, "es": 0x1DD73153A25BDACE,
    "fr": 0x5EE2A364B838FF81, "ja": 0xA57108522A43DE4C, "ru": 0x50FF38E5ACEFB988, "sw": 0x18286AF46D2F4E8D,
    "te": 0x1AB32054B6588FBC, "th": 0x73D417982FE5B402, "zh": 0xB8EB430AD9929F30,
}  # fmt: skip
SUFFIX = "\nPlease reason step by step in {}, and put your final answer within \\boxed{{}}."


def row(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with its language's instruction; the hub's copy has the number in `answer_number`."""
    code = given["lang"]
    if code not in LANGUAGES:
        raise ValueError(f"lang is {code!r}, not one of {', '.join(LANGUAGES)}")
    answer = given["answer_number"] if given.get("answer_number") is not None else given["answer"]
    return {"question": given["question"] + SUFFIX.format(LANGUAGES[code]), "answer": answer, "language": code}


def benchmark(languages: Sequence[str] = tuple(LANGUAGES)) -> Benchmark:
    """MGSM in these languages; DataError for one that it is not in."""
    if unknown := [code for code in languages if code not in LANGUAGES]:
        raise DataError(f"mgsm: languages must be among {', '.join(LANGUAGES)}, got {unknown[0]}")
    return Benchmark(
        name="mgsm",
        # the data set's own loader is a script, which `datasets` no longer runs: the hub's converted copy
        source=Source(
            "juletxara/mgsm",
            configs=tuple(languages),
            config_column="lang",
            revision="refs/convert/parquet",
            problems=250 * len(languages),
            fingerprints=(f"{sum(FINGERPRINTS[code] for code in languages) % 2**64:016x}",),
        ),
        adapt=row,
        keep=lambda given: given["language"] in languages,
        suffix="",
        rewards=("accuracy", "accuracy_lenient", "language"),
        groups=("language",),
        limit_by="language",
        samples=1,
        max_tokens=2048,
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; --languages chooses some of the eleven."""
    options = parser(benchmark(), __doc__ or "")
    options.add_argument("--languages", default=",".join(LANGUAGES), help="codes, separated by commas (default: all)")
    parsed = options.parse_args(arguments)
    try:
        chosen = benchmark([code.strip() for code in parsed.languages.split(",")])
    except DataError as error:
        say(f"error: {error}", sys.stderr)
        return 2
    return run_command(chosen, parsed)


if __name__ == "__main__":
    sys.exit(main())
