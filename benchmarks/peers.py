"""Seconds a GRPO step and peak memory, ours and other people's, on the same work, interleaved.

    python -m benchmarks.peers --model DIR --output runs/peers

One prompt of about 130 tokens, G = 16 completions of 64 tokens at temperature 1, LoRA of rank 8 on all linear layers,
float32, beta = 0.01, the same BLAS. Each peer runs in a virtual environment of its own, made on first use. What a
peer leaves out is said in PEERS. The first step of each run warms up and is not counted.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo.blas import load_blas

ROOT = Path(__file__).resolve().parent.parent
GROUP, TOKENS = 16, 64


@dataclass(frozen=True)
class Peer:
    """Another GRPO: what to install, the script that drives it through its Python API, and what it leaves out."""

    packages: tuple[str, ...]
    runner: str
    leaves_out: str


PEERS = {
    "mlx-lm-lora 5.10.2, group decoded at once": Peer(
        ("mlx[cpu]", "mlx-lm-lora==5.10.2"),
        "drive_mlx_lm_lora.py",
        "ratio always 1 (no clipping takes place); completions scored without their prompt",
    ),
}


@dataclass(frozen=True)
class Run:
    """One process: seconds of its counted steps and its peak resident memory."""

    step_seconds: tuple[float, ...]
    peak_bytes: int
    error: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all rounds and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="an MLX model directory with a chat template")
    parser.add_argument("--output", type=Path, required=True, help="environments, logs, peers.json and peers.md")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="counted steps of a run")
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    data = output / "questions.jsonl"
    data.write_text("".join(json.dumps(question(number)) + "\n" for number in range(4)))
    pythons = {name: environment(peer, output) for name, peer in PEERS.items()}
    runs: dict[str, list[Run]] = {"grpo-mlx": [], **{name: [] for name in PEERS}}
    for number in range(options.rounds):
        runs["grpo-mlx"].append(ours(options.model, data, options.steps, output / f"ours_{number}"))
        for name, peer in PEERS.items():
            log = output / f"{peer.runner}_{number}.log"
            runs[name].append(theirs(pythons[name], peer, options.model, data, options.steps, log))
        for name, done in runs.items():
            print(
                f"round {number + 1}: {name}: {done[-1].error or f'{statistics.median(done[-1].step_seconds):.1f} s'}",
                flush=True,
            )
    record = {name: summary(done) for name, done in runs.items()}
    (output / "peers.json").write_text(json.dumps(record, indent=1))
    (output / "peers.md").write_text(table(record))
    print(table(record))
    return 0


def question(number: int) -> dict[str, str]:
    """A word problem of a little over 100 tokens, so that the prompt with its template has about 130."""
    a, b, c = 12 + number, 5 + number, 3
    text = (
        f"A farmer has {a} fields and each of the fields holds {b} rows of apple trees. In the spring she plants "
        f"{c} more rows in every field, and in the summer a storm takes away one row in each of them. Every row "
        "that is left carries ten trees, and from each tree she picks two baskets of apples. She sells half of "
        "the baskets at the market, gives a few of the others to her neighbours, and keeps the rest for the "
        "winter. How many rows of trees are there in the end?"
    )
    return {"prompt": text, "answer": str(a * (b + c - 1))}


def environment(peer: Peer, output: Path) -> Path:
    """The peer's Python, its environment made on first use."""
    folder = output / f"venv_{peer.runner.removesuffix('.py').removeprefix('drive_')}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *peer.packages], check=True)
        (folder / "installed").touch()
    return python


def ours(model: Path, data: Path, steps: int, folder: Path) -> Run:
    """One run of this project."""
    keys = {
        "model": str(model.resolve()),
        "data": str(data),
        "steps": steps + 1,
        "prompts_per_step": 1,
        "num_generations": GROUP,
        "max_completion_length": TOKENS,
        "lora.rank": 8,
        "lora.alpha": 80,
        "beta": 0.01,
        "learning_rate": 1e-5,
        "eval_every": 0,
        "save_every": 0,
    }
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier benchmark
    config = ROOT / "configs" / "smollm2_word_problems.yaml"
    command = [sys.executable, "-m", "grpo.train", "--config", str(config), "--output", str(folder)]
    code, peak = timed([*command, *(f"{key}={value}" for key, value in keys.items())], folder.with_suffix(".log"), {})
    if code != 0:
        return Run((), peak, f"exit code {code}")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return Run(tuple(json.loads(line)["step_time"] for line in lines[1:]), peak)


def theirs(python: Path, peer: Peer, model: Path, data: Path, steps: int, log: Path) -> Run:
    """One run of a peer, under the same BLAS."""
    blas = load_blas().path
    preload = {"LD_PRELOAD": blas} if blas else {}
    runner = Path(__file__).parent / "peer_runners" / peer.runner
    command = [str(python), str(runner), str(model.resolve()), str(data), str(steps + 1), str(GROUP), str(TOKENS)]
    code, peak = timed(command, log, preload)
    # a progress bar may share the line
    seconds = [float(value) for value in re.findall(r"STEP ([0-9.]+)", log.read_text(errors="replace"))]
    if code != 0 or len(seconds) < 2:
        return Run((), peak, f"exit code {code}, {len(seconds)} steps, see {log.name}")
    return Run(tuple(seconds[1:]), peak)


def timed(command: list[str], log: Path, extra: dict[str, str]) -> tuple[int, int]:
    """Exit code and peak resident bytes of a process."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **extra})
        _, status, usage = os.wait4(process.pid, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * unit


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Median seconds over all counted steps, and the smallest peak."""
    seconds = [value for run in runs for value in run.step_seconds]
    return {
        "median_step_seconds": statistics.median(seconds) if seconds else None,
        "step_seconds": seconds,
        "peak_bytes": min(run.peak_bytes for run in runs),
        "errors": [run.error for run in runs if run.error],
        "measured": time.strftime("%Y-%m-%d"),
    }


def table(record: dict[str, dict[str, Any]]) -> str:
    """Markdown, one row a contender."""
    base = record["grpo-mlx"]["median_step_seconds"]
    rows = ["| | seconds a step | against ours | peak resident memory | leaves out |", "|---|---|---|---|---|"]
    for name, row in record.items():
        seconds = row["median_step_seconds"]
        shown = f"{seconds:.1f} | {seconds / base:.2f}x" if seconds and base else f"{'; '.join(row['errors'])} | "
        missing = PEERS[name].leaves_out if name in PEERS else ""
        rows.append(f"| {name} | {shown} | {row['peak_bytes'] / 1e9:.1f} GB | {missing} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
