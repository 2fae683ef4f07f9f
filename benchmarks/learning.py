"""Does a recipe learn? Several seeds and a control paid by coin flips, on held-out tasks, as a table and a picture.

    python -m benchmarks.learning --config grpo/recipes/quickstart.yaml --seeds 1 2 3 --output runs/learning [key=value
    ...]

Every arm is a run of `python -m grpo.train` of its own; one that is finished is not run again.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.arms import held_out, read

CONTROL = "control"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every arm that is not finished, then write record, table and picture."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run each")
    parser.add_argument("--no-control", action="store_true", help="leave the run with random rewards out")
    parser.add_argument("--output", type=Path, required=True, help="runs, record.json, table.md and curves.png go here")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys for every arm")
    options = parser.parse_intermixed_args(arguments)
    arms = [(f"seed {seed}", [f"seed={seed}"]) for seed in options.seeds]
    if not options.no_control:
        arms.append((CONTROL, [f"seed={options.seeds[0]}", "control=random_reward"]))
    for name, own in arms:
        if not _run(options, _folder(options.output, name), own):
            return 1
    runs = {name: _read(_folder(options.output, name)) for name, _ in arms}
    record = {
        "config": options.config.name,
        "overrides": options.overrides,
        "machine": f"{platform.system()} {platform.machine()}",
        "runs": {name: run["summary"] for name, run in runs.items()},
    }
    (options.output / "record.json").write_text(json.dumps(record, indent=1))
    (options.output / "table.md").write_text(table(runs))
    draw(runs, options.output / "curves.png", title=options.config.stem.replace("_", " "))
    print(table(runs))
    return 0


def _folder(output: Path, name: str) -> Path:
    return output / name.replace(" ", "_")


def _run(options: argparse.Namespace, folder: Path, own: list[str]) -> bool:
    if (folder / "summary.json").exists():
        return True
    command = [sys.executable, "-m", "grpo.train", "--config", str(options.config), "--output", str(folder), "--resume"]
    print(f"running {folder.name}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        code = subprocess.run([*command, *options.overrides, *own], stdout=log, stderr=subprocess.STDOUT).returncode
    if code != 0:
        print(f"{folder.name} ended with code {code}, see {folder / 'log.txt'}", file=sys.stderr)
    return code == 0


def _read(folder: Path) -> dict[str, Any]:
    metrics, summary = read(folder)
    return {"summary": summary, "metrics": metrics}


def table(runs: dict[str, dict[str, Any]]) -> str:
    """Markdown: one row an arm; held-out figures before and after, the 95% interval over tasks behind accuracy."""
    rewards = [
        name for name in ("accuracy", "format", "language") if name in next(iter(runs.values()))["summary"]["after"]
    ]
    rows = ["| run | " + " | ".join(rewards) + " | seconds |", "|---" * (len(rewards) + 2) + "|"]
    for name, run in runs.items():
        before, after = run["summary"]["before"], run["summary"]["after"]
        cells = [f"{before[reward]:.3f} → {after[reward]:.3f}" for reward in rewards]
        if "accuracy_low" in after:
            cells[0] += f" ({after['accuracy_low']:.3f} to {after['accuracy_high']:.3f})"
        rows.append(f"| {name} | " + " | ".join(cells) + f" | {run['summary']['seconds']:.0f} |")
    return "\n".join(rows) + "\n"


def draw(runs: dict[str, dict[str, Any]], path: Path, *, title: str) -> None:
    """Held-out accuracy (points) over the share of right completions in training (lines), the control in grey."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.6), dpi=150)
    for place, (name, run) in enumerate(runs.items()):
        colour = "0.6" if name == CONTROL else f"C{place}"
        metrics, summary = run["metrics"], run["summary"]
        steps = [line["step"] for line in metrics]
        axes.plot(
            steps, _smooth([line["rewards/accuracy/mean"] for line in metrics]), color=colour, alpha=0.45, linewidth=1
        )
        points = held_out(metrics, summary)
        label = "random rewards" if name == CONTROL else name
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=label, linewidth=1.6, markersize=4)
    axes.set(xlabel="step", ylabel="accuracy", ylim=(0, 1), title=f"{title}: held out (points), in training (thin)")
    axes.legend(frameon=False, loc="center right", fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _smooth(values: Sequence[float], width: int = 3) -> list[float]:
    """Mean of the neighbours within `width // 2` steps."""
    half = width // 2
    windows = [values[max(0, place - half) : place + half + 1] for place in range(len(values))]
    return [sum(window) / len(window) for window in windows]


if __name__ == "__main__":
    sys.exit(main())
