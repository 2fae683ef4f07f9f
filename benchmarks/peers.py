"""Seconds a GRPO step, rollout speed and peak memory, ours and other people's, on the same work, interleaved.

    python -m benchmarks.peers --model DIR --environments DIR --output benchmarks/results --page RESULTS.md

One prompt of about 130 tokens, G = 16 completions of at most 64 tokens at temperature 1, LoRA of rank 8 (scale 10) on
all linear layers, float32, beta = 0.01, clip 0.2, learning rate 1e-5, the same prompts, the same BLAS (ours with
grpo.cpu.few_rows before it, as it comes) and the same settings of the C library's memory. Each peer runs in a virtual
environment of its own, made on first use, through its Python API (benchmarks/peer_runners). Every run is a process; the
first step of each warms up and is not counted.
PEERS notes what a peer leaves out. A peer that can't run the work is recorded with its error.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import process as measured
from grpo.cpu.blas import load_blas

ROOT = Path(__file__).resolve().parent.parent
RUNNERS = Path(__file__).resolve().parent / "peer_runners"
OURS = "grpo-mlx"
STEP_LINE = re.compile(r"^STEP ([0-9.]+)(?: ROLLOUT ([0-9.]+) ([0-9]+))?", re.MULTILINE)


@dataclass(frozen=True)
class Peer:
    """Another GRPO: what to install, the script that drives it through its Python API, and what it leaves out."""

    name: str
    environment: str  # of which it is a variant
    packages: tuple[tuple[str, ...], ...]  # what each call of pip gets
    runner: str
    leaves_out: str
    words: tuple[str, ...] = ()  # what else the script is told


LORA_PACKAGES = (("mlx[cpu]", "mlx-lm-lora==5.10.2"),)
LORA_LEAVES_OUT = "clip (its ratio is always 1)"
PEERS = {
    "mlx_lm_lora": Peer("mlx-lm-lora 5.10.2", "mlx_lm_lora", LORA_PACKAGES, "drive_mlx_lm_lora.py", LORA_LEAVES_OUT),
    "mlx_lm_lora_together": Peer(
        "mlx-lm-lora 5.10.2, group decoded at once",
        "mlx_lm_lora",
        LORA_PACKAGES,
        "drive_mlx_lm_lora.py",
        LORA_LEAVES_OUT,
        ("together",),
    ),
    "mlxrl": Peer(
        "inductive-mlxrl 0.2.4, DAPO with clip 0.2 / 0.2",
        "mlxrl",
        (("mlx[cpu]", "mlx-lm", "inductive-mlxrl==0.2.4"),),
        "drive_mlxrl.py",
        "nothing",
    ),
    "textpolicy": Peer(
        "textpolicy 0.1.11",
        "textpolicy",
        (  # it asks for Python 3.12, its code runs from 3.11 on
            ("mlx[cpu]", "mlx-lm", "numpy", "gymnasium", "psutil", "wandb", "aiohttp"),
            ("--no-deps", "--ignore-requires-python", "textpolicy==0.1.11"),
        ),
        "drive_textpolicy.py",
        "KL and reference, division by the group's std",
    ),
    "trl": Peer(
        "TRL 1.16.0, torch 2.13.0",
        "trl",
        (("torch==2.13.0",), ("trl==1.16.0", "peft", "datasets")),
        "drive_trl.py",
        "nothing",
    ),
}


@dataclass(frozen=True)
class Run:
    """One process: its counted steps, and the most memory its largest process has held."""

    step_seconds: tuple[float, ...] = ()
    rollout_rates: tuple[float, ...] = ()  # tokens a second, where it can be told
    peak_bytes: int = 0
    error: str | None = None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="an MLX model directory in float32 with a chat template")
    parser.add_argument("--environments", type=Path, required=True, help="virtual environments and logs (5 GB)")
    parser.add_argument("--samples", type=int, default=measured.GROUP, help="samples of a prompt (16)")
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of a completion (64)")
    parser.add_argument("--steps", type=int, default=2, help="counted steps of a run (2)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="leave some out")
    parser.add_argument("--minutes", type=float, default=30, help="a run that takes longer is ended (30)")
    measured.add_options(parser, rounds=3)
    options = parser.parse_args(arguments)
    if not (Path(options.model) / "config.json").exists():
        parser.error(f"--model {options.model}: no config.json there; give a local MLX directory")
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all rounds, write record and table."""
    options = parse(arguments)
    folder = options.environments.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps(question(number)) + "\n" for number in range(4)))
    chosen = {key: PEERS[key] for key in options.peers}
    installed = {peer.environment: environment(peer, folder) for peer in chosen.values()}
    runs: dict[str, list[Run]] = {OURS: [], **{peer.name: [] for peer in chosen.values()}}
    for number in range(options.rounds):
        report(number, OURS, runs, ours(options, data, folder / f"ours_{number}"))
        for key, peer in chosen.items():
            wrong = installed[peer.environment]
            done = Run(error=wrong) if wrong else theirs(options, peer, data, folder / f"{key}_{number}.log")
            report(number, peer.name, runs, done)
        keep(options, runs, final=number + 1 == options.rounds)  # an interrupted benchmark leaves its whole rounds
    return 0


def keep(options: argparse.Namespace, runs: dict[str, list[Run]], *, final: bool) -> None:
    """Write what is there."""
    found = {name: summary(done) for name, done in runs.items()}
    record = {
        "settings": {
            "samples": options.samples,
            "tokens": options.tokens,
            "rank": 8,
            "beta": 0.01,
            "steps": options.steps,
        },
        "rounds": len(runs[OURS]),
        "leaves_out": {peer.name: peer.leaves_out for peer in PEERS.values() if peer.name in runs},
        "runs": {name: [asdict(run) for run in done] for name, done in runs.items()},
        "summary": found,
    }
    measured.write("peers", record, table(found), options, final=final)


def report(number: int, name: str, runs: dict[str, list[Run]], done: Run) -> None:
    """Keep a run and say how it went."""
    runs[name].append(done)
    print(f"round {number + 1}: {name}: {done.error or f'{statistics.median(done.step_seconds):.1f} s'}", flush=True)


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


def python_of(environment: str, folder: Path) -> Path:
    """The interpreter of a peer's environment."""
    return folder / f"venv_{environment}" / "bin" / "python"


def environment(peer: Peer, folder: Path) -> str | None:
    """Make the peer's environment if it isn't there; what went wrong, if anything did."""
    home, log = folder / f"venv_{peer.environment}", folder / f"install_{peer.environment}.log"
    if (home / "installed").exists():
        return None
    print(f"installing {peer.name}", flush=True)
    venv.create(home, with_pip=True, clear=True)
    for packages in peer.packages:
        command = [str(python_of(peer.environment, folder)), "-m", "pip", "install", "-q", *packages]
        with log.open("a") as file:
            code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
        if code != 0:
            return f"can't be installed: {last_line(log)}"
    (home / "installed").touch()
    return None


def ours(options: argparse.Namespace, data: Path, folder: Path) -> Run:
    """One run of this project's command."""
    keys = {
        "model": str(Path(options.model).resolve()),
        "data": str(data),
        "steps": options.steps + 1,
        "prompts_per_step": 1,
        "num_generations": options.samples,
        "max_completion_length": options.tokens,
        "lora.rank": 8,
        "lora.alpha": 80,
        "beta": 0.01,
        "learning_rate": 1e-5,
        "eval_every": 0,
        "save_every": 0,
    }
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier benchmark
    config, log = ROOT / "configs" / "smollm2_word_problems.yaml", folder.with_suffix(".log")
    command = [sys.executable, "-m", "grpo.train", "--config", str(config), "--output", str(folder)]
    code, peak = timed(
        [*command, *(f"{key}={value}" for key, value in keys.items())], log, options.minutes, "GRPO_BLAS"
    )
    if code != 0:
        return Run(peak_bytes=peak, error=f"exit code {code}: {last_line(log)}")
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][1:]
    rates = tuple(options.samples * step["completions/mean_length"] / step["time/rollout"] for step in steps)
    return Run(tuple(step["step_time"] for step in steps), rates, peak)


def theirs(options: argparse.Namespace, peer: Peer, data: Path, log: Path) -> Run:
    """One run of a peer."""
    numbers = [str(number) for number in (options.steps + 1, options.samples, options.tokens)]
    python = python_of(peer.environment, options.environments.resolve())
    command = [str(python), str(RUNNERS / peer.runner), str(Path(options.model).resolve()), str(data), *numbers]
    code, peak = timed([*command, *peer.words], log, options.minutes, "LD_PRELOAD")
    steps = counted(log.read_text(errors="replace"))
    if code != 0 or not steps:
        return Run(peak_bytes=peak, error=f"exit code {code}, {len(steps)} counted steps: {last_line(log)}")
    rates = tuple(rate for _, rate in steps if rate is not None)
    return Run(tuple(seconds for seconds, _ in steps), rates, peak)


def counted(log: str) -> list[tuple[float, float | None]]:
    """(seconds, rollout tokens a second) of every step that a driver has printed, the first left out."""
    return [
        (float(seconds), int(tokens) / float(rollout) if tokens else None)
        for seconds, rollout, tokens in STEP_LINE.findall(log)
    ][1:]


def timed(command: list[str], log: Path, minutes: float, variable: str) -> tuple[int, int]:
    """Return the exit code and the peak resident bytes of a process, which is killed at its time limit.

    `variable` names the BLAS to it that ours loads.
    """
    blas = load_blas().path
    variables = {**os.environ, **({variable: blas} if blas else {})}
    end = time.monotonic() + 60 * minutes
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables, cwd=ROOT)
        ended, status, usage = 0, 0, None
        while not ended:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if not ended and time.monotonic() > end:
                file.write(f"\nended after {minutes:g} minutes\n")
                process.kill()
                ended, status, usage = os.wait4(process.pid, 0)
            time.sleep(0 if ended else 0.1)
    process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
    assert usage is not None
    return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def last_line(log: Path) -> str:
    """Return the last line a process printed, shortened."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"\w*(Error|Exception|error|ERROR|ended after)\b", line)]
    return (said or lines or ["it said nothing"])[-1][:200]


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Medians over all counted steps of all rounds; of the peaks, the median of the rounds that went well."""
    seconds = [value for run in runs for value in run.step_seconds]
    rates = [value for run in runs for value in run.rollout_rates]
    peaks = [run.peak_bytes for run in runs if run.error is None]
    return {
        "step_seconds": statistics.median(seconds) if seconds else None,
        "rollout_rate": statistics.median(rates) if rates else None,
        "peak_bytes": statistics.median(peaks) if peaks else None,
        "errors": sorted({run.error for run in runs if run.error}),
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown, one row a contender."""
    lines = [
        "### Against others",
        "",
        "| | seconds a step | against ours | rollout tokens/s | peak resident memory | leaves out |",
        "|---|---:|---:|---:|---:|---|",
    ]
    missing = {peer.name: peer.leaves_out for peer in PEERS.values()}
    for name, row in found.items():
        note = "; ".join([*([missing[name]] if name in missing else []), *(f"error: {e}" for e in row["errors"])])
        cells = [name, *_figures(row, found[OURS]["step_seconds"]), note.replace("|", "/")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _figures(row: dict[str, Any], base: float | None) -> list[str]:
    seconds, rate, peak = row["step_seconds"], row["rollout_rate"], row["peak_bytes"]
    return [
        f"{seconds:.1f}" if seconds else "",
        f"{seconds / base:.2f}x" if seconds and base else "",
        f"{rate:.0f}" if rate else "",
        f"{peak / 1e9:.1f} GB" if peak else "",
    ]


if __name__ == "__main__":
    sys.exit(measured.run(main))
