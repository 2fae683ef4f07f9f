"""Runs of a benchmark side by side: a table, a picture, and for each run a paired test against the first.

    python -m benchmarks.compare runs/before runs/after [RUN ...] [--output runs/compared]

Pairs are problems with the same prompt source and reference answer in both runs; the p-value is of the exact
sign-flip test over problems (benchmarks.harness.metrics.paired_comparison), the interval of the difference a bootstrap
over them. With several runs compared to one, expect one in twenty to fall below 0.05 by chance.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewards.printable import say

if TYPE_CHECKING:
    from benchmarks.harness.metrics import Paired

COLUMNS = ("accuracy_lenient", "format", "language", "truncated", "tokens", "thinking_tokens")
SETTINGS = ("template", "temperature", "top_p", "max_tokens", "samples", "think", "max_thinking", "min_thinking")
NAME = "comparison"


@dataclass(frozen=True)
class Run:
    """A finished run."""

    name: str
    results: dict[str, Any]
    means: dict[tuple[str, str | None], float]  # share of right samples by (problem's place in its source, reference)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 with one line for a directory that holds no finished run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output directories; the first is the base")
    parser.add_argument("--output", type=Path, help="writes comparison.md, .json and .png there")
    options = parser.parse_args(arguments)
    try:
        runs = [read_run(folder) for folder in options.runs]
        pairs = [paired(runs[0], run) for run in runs[1:]]
        record = record_of(runs, pairs)
        text = table(record)
        if options.output is not None:
            _write(options.output, runs, record)
    except (ValueError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}", sys.stderr)
        return 2
    print(text)
    return 0


def read_run(folder: Path) -> Run:
    """results.json and the problems' means; ValueError if the run is not finished."""
    from benchmarks.harness.items import ItemFile
    from benchmarks.harness.summary import by_problem, right

    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        main_reward = results["rewards"][0]
    except FileNotFoundError:
        hint = ": its command has to be finished" if (folder / "config.json").exists() else ""
        raise ValueError(f"{folder} holds no results.json{hint}") from None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise ValueError(f"{folder}/results.json is not the result of a benchmark") from None
    if results["figures"]["pass@1"] is None:
        raise ValueError(f"{folder} has no scored answer: there is nothing to compare")
    limit = results["figures"]["problems"]
    means = {}
    for items in by_problem([item for item in ItemFile(folder).read().values() if item.problem < limit]):
        scored = [right(item, main_reward) for item in items if item.scores[main_reward] is not None]
        if scored:
            means[items[0].id, items[0].reference] = sum(scored) / len(scored)
    return Run(folder.name or str(folder), results, means)


def paired(first: Run, second: Run) -> "Paired":
    """The paired test over the problems both have; ValueError if there are none."""
    from benchmarks.harness.metrics import paired_comparison

    common = [key for key in first.means if key in second.means]
    if not common:
        raise ValueError(f"{first.name} and {second.name} have no problem in common")
    return paired_comparison([first.means[key] for key in common], [second.means[key] for key in common])


def record_of(runs: Sequence[Run], pairs: Sequence["Paired"]) -> dict[str, Any]:
    """All that the table shows, without where the runs' models lie."""
    first = runs[0].results
    return {
        "benchmark": first["benchmark"],
        "problems_of_all": first["data"]["problems"],
        "runs": {run.name: run.results["figures"] for run in runs},
        "settings": {run.name: {key: run.results["settings"].get(key) for key in ("limit", *SETTINGS)} for run in runs},
        "against": runs[0].name,
        "pairs": {run.name: asdict(pair) for run, pair in zip(runs[1:], pairs, strict=True)},
        "date": first["date"],
        "commit": first["commit"],
    }


def table(record: Mapping[str, Any]) -> str:
    """Markdown: one row a run, then one row a comparison."""
    runs, settings = record["runs"], record["settings"]
    own, first = settings[record["against"]], runs[record["against"]]
    rows = [
        f"{record['benchmark']}: {first['problems']} of {record['problems_of_all']} problems x {first['samples']} "
        f"samples, temperature {own['temperature']:g}, at most {own['max_tokens']} tokens, template {own['template']}",
        "",
    ]
    shown = [name for name in COLUMNS if any(name in found for found in runs.values())]
    head = ["run", "pass@1", "95% interval", "cons@k", *(name.replace("_", " ") for name in shown)]
    rows += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in runs.items():
        votes = [f"{value:.3f} (k {key[5:]})" for key, value in found.items() if key.startswith("cons@")]
        interval = f"{found['pass@1_low']:.3f} to {found['pass@1_high']:.3f}"
        cells = [name, f"{found['pass@1']:.3f}", interval, votes[-1] if votes else ""]
        cells += [_cell(column, found.get(column)) for column in shown]
        rows.append("| " + " | ".join(cells) + " |")
    if record["pairs"]:
        rows += ["", f"| against {record['against']} | difference | 95% interval | better / worse | problems | p |"]
        rows.append("|---" * 6 + "|")
    for name, pair in record["pairs"].items():
        low, high = pair["interval"]
        rows.append(
            f"| {name} | {pair['difference']:+.3f} | {low:+.3f} to {high:+.3f} | {pair['better']} / {pair['worse']} "
            f"| {pair['problems']} | {pair['p_value']:.4f} |"
        )
    return "\n".join([*rows, *_notes(settings)]) + "\n"


def _cell(name: str, value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if "tokens" in name else f"{value:.3f}"


def _notes(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the settings that differ besides the model, for readers of the p-values."""
    told = []
    for key in SETTINGS:
        values = {name: own.get(key) for name, own in settings.items()}
        if len(set(map(str, values.values()))) > 1:
            told.append(f"- {key}: " + ", ".join(f"{name} {value}" for name, value in values.items()))
    return ["", "Not the same in all:", *told] if told else []


def _write(output: Path, runs: Sequence[Run], record: Mapping[str, Any]) -> None:
    from benchmarks.harness.pictures import draw_comparison

    output.mkdir(parents=True, exist_ok=True)
    (output / f"{NAME}.md").write_text(table(record), encoding="utf-8")
    (output / f"{NAME}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    draw_comparison({run.name: run.results for run in runs}, output / f"{NAME}.png")


if __name__ == "__main__":
    sys.exit(main())
