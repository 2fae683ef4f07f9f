"""Accuracy against thinking tokens: one benchmark under several thinking budgets, and majority votes beside it.

    python -m benchmarks.sweep --benchmark math500 --budgets 256 512 1024 2048 --output runs/sweep \\
        -- --model DIR_OR_HUB_ID --template r1 --samples 8 [what else python -m benchmarks.math500 takes]

Every budget is a run of its own (DIR/thinking_N), resumed if it was interrupted. Thinking is held at exactly N
tokens: closed there, and lengthened by "Wait" where the model would end it earlier (s1, arXiv 2501.19393);
--close-only leaves early ends alone. The picture has accuracy over the thinking tokens of one sample, and the
majority vote of k samples over k times that: what the same tokens buy in parallel.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.harness.pictures import BudgetPoint


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every budget, then write sweep.json, sweep.md and sweep.png."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--benchmark", required=True, help="gsm8k, math500, aime, ...")
    parser.add_argument("--budgets", type=int, nargs="+", required=True, help="thinking tokens")
    parser.add_argument("--close-only", action="store_true", help="close the thinking, but don't lengthen it")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments[:at])
    rest = arguments[at + 1 :]
    if not any(part.split("=")[0] in ("--template", "--think") for part in rest):
        rest += ["--template", "r1"]
    runs = {}
    for budget in sorted(set(options.budgets)):
        folder = options.output / f"thinking_{budget}"
        code = _run(options.benchmark, budget, options.close_only, [*rest, "--output", str(folder)])
        if code != 0:
            return code
        runs[budget] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    _write(options.output, options.benchmark, runs)
    return 0


def _run(benchmark: str, budget: int, close_only: bool, rest: list[str]) -> int:
    """One budget, in a process of its own; its exit code."""
    asked = ["--max-thinking", str(budget), *([] if close_only else ["--min-thinking", str(budget)])]
    print(f"thinking {budget} tokens", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{benchmark}", *asked, *rest]).returncode


def _write(output: Path, benchmark: str, runs: dict[int, dict[str, Any]]) -> None:
    from benchmarks.harness.pictures import draw_budgets

    settings = next(iter(runs.values()))["settings"]
    record = {
        "benchmark": benchmark,
        "runs": {str(budget): results["figures"] for budget, results in runs.items()},
        "settings": {key: settings[key] for key in ("temperature", "max_tokens", "template", "waits")},
        "commit": next(iter(runs.values()))["commit"],
    }
    text = table(record)
    (output / "sweep.md").write_text(text + "\n", encoding="utf-8")
    (output / "sweep.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    points = [point_of(results["figures"]) for results in runs.values()]
    draw_budgets(points, output / "sweep.png", title=f"{benchmark}: {Path(settings['model']).name}")
    print(f"{text}\n\n{output}/sweep.png")


def table(record: dict[str, Any]) -> str:
    """Markdown: one row a budget."""
    settings, first = record["settings"], next(iter(record["runs"].values()))
    rows = [
        f"{record['benchmark']}: {first['problems']} problems x {first['samples']} samples, temperature "
        f"{settings['temperature']:g}, at most {settings['max_tokens']} tokens, template {settings['template']}",
        "",
    ]
    rows += ["| budget | thinking tokens | pass@1 | 95% interval | majority |", "|---|---|---|---|---|"]
    for budget, found in record["runs"].items():
        point = point_of(found)
        votes = ", ".join(f"{value:.3f} (k {k})" for k, value in point.votes.items())
        rows.append(
            f"| {budget} | {point.thinking_tokens:.1f} | {point.accuracy:.3f} | {point.low:.3f} to {point.high:.3f} "
            f"| {votes} |"
        )
    return "\n".join(rows)


def point_of(found: dict[str, Any]) -> "BudgetPoint":
    """The figures of a run as a point of the picture."""
    from benchmarks.harness.pictures import BudgetPoint

    votes = {int(name[5:]): value for name, value in found.items() if name.startswith("cons@")}
    return BudgetPoint(found["thinking_tokens"], found["pass@1"], found["pass@1_low"], found["pass@1_high"], votes)


if __name__ == "__main__":
    sys.exit(main())
