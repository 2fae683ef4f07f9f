"""Start several processes of a command on loopback, as `mlx.launch` does, with their ends in hand."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SECONDS = 240  # for a command, beyond which something hangs
CLOSE = 1e-5  # of a trained weight after a few steps
TIMED = ("time", "tokens_per_second", "memory/", "ranks/", "staleness")  # what depends on the machine, and on roles
ALIKE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass
class Launched:
    """The processes of one command."""

    processes: list[subprocess.Popen[str]]
    paths: list[Path]  # what each rank wrote

    def wait(self, seconds: float = SECONDS) -> list[int]:
        """Return the exit codes by rank; kills what does not end in time and fails."""
        deadline = time.monotonic() + seconds
        try:
            return [process.wait(max(0.1, deadline - time.monotonic())) for process in self.processes]
        except subprocess.TimeoutExpired:
            self.end()
            pytest.fail(f"a rank did not end within {seconds} s:\n{self.said()}")

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one rank."""
        self.processes[rank].send_signal(number)

    def end(self) -> None:
        """Kill what runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def said(self) -> str:
        """Return what each rank wrote, of those that have ended."""
        return "\n".join(f"--- {at}\n{path.read_text()}" for at, path in enumerate(self.paths))


class Launcher:
    """Starts commands; `runs` is the fixture of grpo's tests, whose config and models they use."""

    def __init__(self, runs: Any, folder: Path) -> None:
        self.runs, self.folder, self.launched = runs, folder, list[Launched]()

    def train(self, count: int, *overrides: str, name: str = "run", resume: bool = False) -> Launched:
        """Start `grpo.train` as `count` processes."""
        arguments = [*self.runs.arguments(name, *overrides), *(["--resume"] if resume else [])]
        return self.start(count, "grpo.train", arguments)

    def roles(self, samplers: int, learners: int, *overrides: str, name: str = "run", resume: bool = False) -> Launched:
        """Start `grpo.train` with ranks that sample and ranks that learn."""
        roles = ["--samplers", str(samplers), "--learners", str(learners)]
        return self.train(samplers + learners, *roles, *overrides, name=name, resume=resume)

    def start(self, count: int, module: str, *by_rank: Sequence[str]) -> Launched:
        """Start a module as `count` processes; all with the same arguments, or each with its own."""
        hosts = self.folder / f"hosts_{len(self.launched)}.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(count)]))
        processes, paths = [], []
        for rank in range(count):
            path = self.folder / f"said_{len(self.launched)}_{rank}.txt"
            placed = {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)} if count > 1 else {}
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *by_rank[rank % len(by_rank)]],
                    cwd=self.runs.modules,
                    env={**os.environ, **ALIKE, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.runs.modules}", **placed},
                    stdout=path.open("w"),
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            paths.append(path)
        self.launched.append(Launched(processes, paths))
        return self.launched[-1]

    def end(self) -> None:
        """Kill what runs."""
        for launched in self.launched:
            launched.end()

    def folder_of(self, name: str) -> Path:
        """Return a run's directory."""
        return self.runs.folder(name)

    def farthest(self, one: str, other: str) -> float:
        """Return the largest difference of a trained weight between two runs."""
        first, second = (dict(mx.load(str(self.folder_of(name) / "adapters.safetensors"))) for name in (one, other))
        assert first.keys() == second.keys()
        return max(float(np.abs(np.array(first[name]) - np.array(second[name])).max()) for name in first)

    def metrics(self, name: str) -> list[dict[str, float]]:
        """Return the lines of a run's metrics.jsonl."""
        return [json.loads(line) for line in (self.folder_of(name) / "metrics.jsonl").read_text().splitlines()]

    def require_same_runs(self, one: str, other: str) -> None:
        """Fail unless two runs have the same completions and, but for rounding, the same weights and metrics."""
        assert self.farthest(one, other) <= CLOSE
        first, second = self.metrics(one), self.metrics(other)
        assert [line["step"] for line in first] == [line["step"] for line in second]
        for mine, theirs in zip(first, second, strict=True):
            assert _said(self.rows(one, mine["step"])) == _said(self.rows(other, mine["step"]))
            assert _untimed(mine).keys() == _untimed(theirs).keys()
            assert _untimed(mine) == pytest.approx(_untimed(theirs), rel=1e-3, abs=1e-4)

    def rows(self, name: str, step: int, kind: str = "completions") -> list[dict[str, Any]]:
        """Return the rows of a step's completions."""
        path = self.folder_of(name) / kind / f"step_{step:06d}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def wait_for_step(self, name: str, step: int, seconds: float = 120) -> None:
        """Wait until a run's metrics.jsonl has this step."""
        path, deadline = self.folder_of(name) / "metrics.jsonl", time.monotonic() + seconds
        while not path.exists() or len(path.read_text().splitlines()) < step:
            assert time.monotonic() < deadline, f"step {step} was never made:\n{self.launched[-1].said()}"
            time.sleep(0.02)


def _untimed(line: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in line.items() if not any(part in name for part in TIMED)}


def _said(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["task"], row["completion"], row["reward"]) for row in rows]


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
