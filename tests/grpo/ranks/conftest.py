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

ROOT = Path(__file__).parents[3]
SECONDS = 240  # for a command, beyond which something hangs
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


@pytest.fixture
def launch(runs: Any, tmp_path: Path) -> Any:
    launcher = Launcher(runs, tmp_path)
    yield launcher
    for launched in launcher.launched:
        launched.end()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
