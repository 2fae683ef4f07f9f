"""Check that every figure of README.md and RESULTS.md follows from a record in benchmarks/results.

    python -m benchmarks.claims

A section between marks must be what its table function makes of its record. A sentence with figures must be what its
line in SENTENCES makes of its record. A decimal, a percentage or a number of times, seconds or gigabytes that neither
covers is refused, unless SETTINGS names it as what was set, not measured.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    ablation,
    architectures,
    calculator,
    compare,
    peers,
    recipe,
    rollout_speed,
    scaling,
    search,
    step_speed,
    supervised,
    sweep,
)

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "RESULTS.md")
SECTION = re.compile(r"<!-- (?P<name>[^>]+?) -->\n(?P<text>.*?)\n<!-- end of (?P=name) -->", re.DOTALL)
NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<!--.*?-->|arXiv \d+\.\d+", re.DOTALL)
FIGURE = re.compile(r"(?<![\w.])\d+(?:\.\d+|%|(?= (?:times|seconds|s|GB|tokens/s)\b))")

Record = dict[str, Any]
SECTIONS: dict[str, Callable[[Record], str]] = {  # by the first word of a section's name
    "peers": lambda record: peers.table(record["summary"]),
    "rollout_speed": lambda record: rollout_speed.table(record["runs"]),
    "step_speed": lambda record: step_speed.table(record["runs"]),
    "scaling": lambda record: scaling.table(record["model"], record["seconds"], record["exponents"]),
    "search": lambda record: search.table(record["right"], record["options"]["samples"]),
    "ablation": lambda record: ablation.table(record["runs"]),
    "architectures": lambda record: architectures.table(record["found"]),
    "calculator": lambda record: calculator.table(record["runs"]),
    "recipe": recipe.table,
    "compare": compare.table,
    "supervised": supervised.table,
    "sweep": sweep.table,
}
# what a page says that was set, not measured
SETTINGS = (
    "1.0 * accuracy + 0.3 * format + 0.2 * language",
    "0.8M weights",
    "KL 0.01",
    "clip 0.2",
    "the 95% interval over tasks",
)


def quickstart_rows(record: Record) -> Iterator[str]:
    """The rows of README's first table."""
    for name, run in record["runs"].items():
        before, after = run["before"], run["after"]
        cells = [f"{before[reward]:.3f} → {after[reward]:.3f}" for reward in ("accuracy", "format", "language")]
        yield f"| {'control: random rewards' if name == 'control' else name} | {' | '.join(cells)} |"


def arithmetic_rows(record: Record) -> Iterator[str]:
    """The rows of the SmolLM2 table of RESULTS.md."""
    for name, run in record["runs"].items():
        before, after = run["before"], run["after"]
        figures = f"{before['accuracy']:.3f} → {after['accuracy']:.3f}"
        inside = f"({after['accuracy_low']:.3f} to {after['accuracy_high']:.3f})"
        label = "control: random rewards" if name == "control" else name
        yield f"| {label} | {figures} {inside} | {run['seconds']:.0f} |"


def arithmetic_sentence(record: Record) -> Iterator[str]:
    """README's sentence on SmolLM2, its control with the interval that includes no change."""
    pairs = {name: (run["before"]["accuracy"], run["after"]) for name, run in record["runs"].items()}
    yield ", ".join(
        f"{before:.2f} → {after['accuracy']:.2f}" for name, (before, after) in pairs.items() if name != "control"
    )
    before, after = pairs["control"]
    inside = f"[{after['accuracy_low']:.2f}, {after['accuracy_high']:.2f}]"
    yield f"{before:.2f} → {after['accuracy']:.2f} {inside} with random rewards"


def peers_sentence(record: Record) -> Iterator[str]:
    """README's sentence on the peers."""
    seconds = {name: row["step_seconds"] for name, row in record["summary"].items()}
    ours = seconds[peers.OURS]
    lora = next(seconds[name] for name in seconds if name.startswith("mlx-lm-lora") and "at once" in name)
    trl = next(seconds[name] for name in seconds if name.startswith("TRL"))
    yield f"{lora / ours:.1f} times faster than mlx-lm-lora decoding its group at once, {trl / ours:.1f} than TRL"


def architectures_sentence(record: Record) -> Iterator[str]:
    """README's sentence on the architectures."""
    same = [one for one in record["found"].values() if one.get("same")]
    experts, faster = sum(one["experts"] for one in same), statistics.median(one["faster"] for one in same)
    yield (
        f"Of {len(record['found'])} architectures of mlx_lm, built small, {len(same)} learn from a shared prompt with "
        f"the gradient of whole rows ({experts} with adapters on experts), {faster:.1f} times faster in the median"
    )


def recipe_sentence(record: Record) -> Iterator[str]:
    """README's sentence on the recipe of SmolLM2: means over the seeds, the difference with its interval."""
    stages = recipe.by_stage(record)

    def at(stage: str, reward: str = "accuracy") -> str:
        return f"{statistics.fmean(one['held_out'][reward]['mean'] for one in stages[stage]):.2f}"

    apart = [seed["comparison"]["difference"]["student_rl"]["mean"] for seed in record["seeds"].values()]
    middle, half, _ = recipe.over_seeds(apart) or (apart[0], 0.0, 0.0)
    yield f"pure RL takes accuracy from {at('base')} to {at('zero')}, without the format ({at('zero', 'format')})"
    yield f"cold start {at('cold_start')} in the format ({at('cold_start', 'format')})"
    yield f"reasoning RL {at('reasoning_rl')}, SFT on its corpus {at('sft')}"
    yield (
        f"distilled {at('distill')}, by RL on as many tokens {at('student_rl')}, "
        f"{middle:.2f} less [{middle - half:.2f}, {middle + half:.2f}]"
    )


def step_sentence(record: Record) -> Iterator[str]:
    """The step of RESULTS.md in seconds, memory and share of the machine's rate."""
    lengths = next(iter(record["runs"].values()))
    short, long = lengths.values()
    resident = sorted(run["resident_bytes"] for run in short)[len(short) // 2] / 1e9
    seconds = [step_speed.middle(runs, "step_seconds") for runs in (short, long)]
    yield f"takes {seconds[0]:.1f} s and {resident:.1f} GB with OpenBLAS, {seconds[1]:.1f} s on a prompt of 1,000"


def scaling_sentence(record: Record) -> Iterator[str]:
    """The exponents of RESULTS.md."""
    power = {axis: fit["step"]["all"] for axis, fit in record["exponents"].items()}
    prompts, samples = power["prompts"], power["samples"]
    yield f"power of {power['tokens']:.1f}, with the number of prompts {prompts:.1f}, of samples {samples:.1f}"


def server_sentence(record: Record) -> Iterator[str]:
    """The run of RESULTS.md whose completions a server sampled."""
    for summary in (record["summary"], record["without_server"]["summary"]):
        before, after = summary["before"], summary["after"]
        inside = f"({after['accuracy_low']:.3f} to {after['accuracy_high']:.3f})"
        yield f"{before['accuracy']:.3f} → {after['accuracy']:.3f} {inside}"
    weights = [line["sampling/importance_weight"] for line in record["metrics"]]
    first, *later, last = [line["sampling/mismatch_k3"] for line in record["metrics"]]
    yield f"mean importance weight {min(weights):.3f} to {max(weights):.3f}, mismatch k3 {first:.4f} at step 1"
    yield f"and {min(later):.3f} to {max(later):.2f} later ({last:.2f} at step {len(weights)})"


@dataclass(frozen=True)
class Sentence:
    """Texts that must stand on a page, made from a record."""

    page: str
    record: str
    texts: Callable[[Record], Iterable[str]]


SENTENCES = (
    Sentence("README.md", "learning_quickstart", quickstart_rows),
    Sentence("README.md", "learning_smollm2_arithmetic", arithmetic_sentence),
    Sentence("README.md", "peers", peers_sentence),
    Sentence("README.md", "architectures", architectures_sentence),
    Sentence("README.md", "recipe_r1_pipeline_smollm2", recipe_sentence),
    Sentence("RESULTS.md", "learning_smollm2_arithmetic", arithmetic_rows),
    Sentence("RESULTS.md", "learning_smollm2_server", server_sentence),
    Sentence("RESULTS.md", "step_speed", step_sentence),
    Sentence("RESULTS.md", "scaling", scaling_sentence),
)


def read(name: str, records: Path = RECORDS) -> Record | None:
    """The record of that name; None if there is none."""
    path = records / f"{name.replace(' ', '_')}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def faults(pages: dict[str, str], records: Path = RECORDS) -> Iterator[str]:
    """One line for every figure that its record does not give, or that has no record."""
    for page, text in pages.items():
        left = text
        for found in SECTION.finditer(text):
            left = left.replace(found[0], "")
            yield from _section_faults(page, found["name"], found["text"], records)
        left = flat(NOT_PROSE.sub(" ", left))
        for sentence in (one for one in SENTENCES if one.page == page):
            record = read(sentence.record, records)
            if record is None:
                yield f"{page}: the record {sentence.record}.json is missing"
                continue
            for claim in map(flat, sentence.texts(record)):
                if claim not in left:
                    yield f"{page}: {sentence.record}.json gives {claim!r}, which does not stand there"
                left = left.replace(claim, " ")
        for setting in SETTINGS:
            left = left.replace(setting, " ")
        for figure in FIGURE.finditer(left):
            around = left[max(0, figure.start() - 40) : figure.end() + 30]
            yield f"{page}: no record gives {figure[0]} in {around!r}"


def _section_faults(page: str, name: str, text: str, records: Path) -> Iterator[str]:
    record = read(name, records)
    table = SECTIONS.get(name.partition(" ")[0])
    if table is None:
        yield f"{page}: section {name} has no line in SECTIONS of benchmarks/claims.py"
    elif record is None:
        yield f"{page}: section {name} has no record {name.replace(' ', '_')}.json"
    elif flat(table(record)) not in flat(text):
        yield f"{page}: section {name} is not what its record gives"


def flat(text: str) -> str:
    """The text with single spaces, wherever its lines end."""
    return " ".join(text.split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 if every figure follows from its record, 1 if not."""
    argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__).parse_args(arguments)
    found = list(faults({page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}))
    for line in found:
        print(line)
    print(f"{len(found)} figures disagree with benchmarks/results" if found else "every figure follows from a record")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
