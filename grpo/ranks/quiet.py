"""The logger of a rank that writes nothing, unless it has to take over."""

import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from grpo.config.sections import LoggedRun
from grpo.runs.log import RunLog
from grpo.runs.logger import METRICS, RunLogger, metrics_line


class QuietLogger(RunLogger):
    """Says and writes nothing; remembers the last step, for the case that rank 0 is lost."""

    def __init__(
        self, output: Path, config: LoggedRun, *, metrics_bytes: int | None = None, first_step: int = 0
    ) -> None:
        self.output, self.config, self.log = output, config, RunLog(output)
        self.console = Console(quiet=True)
        self.boards, self.view, self.token_texts = [], None, None
        self.started, self.first_step = time.monotonic(), first_step
        self.last: tuple[int, dict[str, float]] | None = None

    def say(self, text: str) -> None:
        """Say nothing."""

    def step(self, step: int, metrics: dict[str, float]) -> None:
        """Remember the step."""
        self.last = step, metrics

    def _rows(self, *_: Any) -> list[dict[str, Any]]:
        """Write nothing: rank 0 has the rows of all."""
        return []

    def watch(self) -> None:
        """Show nothing."""

    def metrics_bytes(self) -> int:
        """Cut metrics.jsonl after the last step, add its line if rank 0 did not write it; return the file's length."""
        last = self.first_step if self.last is None else self.last[0]
        path = self.output / METRICS
        kept: list[bytes] = []
        written = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            step = _step_of(line)
            if step is not None and step <= last:
                kept.append(line)
                written = step
        if self.last is not None and written < last:
            kept.append(metrics_line(*self.last).encode())
        with path.open("wb") as file:
            file.write(b"".join(kept))
            file.flush()
            os.fsync(file.fileno())
        return sum(map(len, kept))

    def close(self) -> None:
        """Nothing is open."""


def _step_of(line: bytes) -> int | None:
    """Return the step of a whole line; None for a torn one."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None
