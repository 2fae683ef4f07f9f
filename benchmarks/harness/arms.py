"""The runs behind a comparison: each is made once, in this process, and read from its directory."""

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SAID = "said.txt"  # what a run printed

Point = tuple[int, float]  # step, held-out accuracy


def run_once(folder: Path, command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command with this run directory unless it is finished; return its exit code, 0 if there is nothing to do.

    What it prints goes to said.txt in the directory. A run that was stopped is resumed.
    """
    if (folder / "summary.json").exists():
        return 0
    print(f"running {folder.name}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / SAID).open("a") as said, contextlib.redirect_stdout(said):
        code = command(["--output", str(folder), "--resume", *arguments])
    if code != 0:
        print(f"{folder.name} ended with code {code}, see {folder / SAID}", file=sys.stderr)
    return code


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the metrics of every step and the summary of a finished run."""
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return metrics, json.loads((folder / "summary.json").read_text())


def held_out(metrics: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> list[Point]:
    """Return held-out accuracy before, at every evaluation and after."""
    between = [(line["step"], line["eval/accuracy"]) for line in metrics if "eval/accuracy" in line]
    return [(0, summary["before"]["accuracy"]), *between, (summary["steps"], summary["after"]["accuracy"])]
