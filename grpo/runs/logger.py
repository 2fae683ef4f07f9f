"""Write a run's metrics, completions and log to its directory, and show them on the terminal and on boards."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from grpo.config.sections import LoggedRun
from grpo.doctor.findings.judgement import Verdict
from grpo.doctor.findings.kinds import Finding
from grpo.runs.boards import boards
from grpo.runs.interrupt import Unread
from grpo.runs.live import SMALLEST_HEIGHT, LiveView, draws, token_bar
from grpo.runs.log import RunLog
from grpo.runs.rows import TextsOf, completion_rows, to_line
from grpo.scoring import GroupScores
from grpo.types import Credit, Group
from rewards.printable import printable

METRICS = "metrics.jsonl"
EVENTS = "events.out.tfevents.*"


class Output(Console):
    """The terminal, or a pipe: a run whose pipe is closed is interrupted, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        """Raise Unread."""
        self.quiet = True
        raise Unread


class RunLogger:
    """Writes a run's records; `console` is what the user watches."""

    def __init__(
        self, output: Path, config: LoggedRun, *, metrics_bytes: int | None = None, first_step: int = 0
    ) -> None:
        """`metrics_bytes`: how much of metrics.jsonl belongs to the checkpoint that is resumed; the rest is cut off."""
        self.output, self.config, self.log = output, config, RunLog(output)
        self.console: Console = Output(highlight=False)
        path = output / METRICS
        keep = metrics_bytes or 0
        if path.exists() and path.stat().st_size != keep:
            os.truncate(path, min(keep, path.stat().st_size))
        torn = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
        self.metrics = path.open("a", encoding="utf-8")
        if torn:  # the next line must not become part of it
            self.metrics.write("\n")
        if not first_step:
            for path in output.glob(EVENTS):  # of a sitting that was killed before its first checkpoint
                path.unlink()
        self.boards = boards(config, output, first_step)
        self.view: LiveView | None = None
        self.started, self.first_step = time.monotonic(), first_step
        self.token_texts: TextsOf | None = None  # None = rows without them
        if unreadable := sum(step is None for step in self.earlier()):
            self.say(f"  warning: {unreadable} lines of {METRICS} can't be read and are passed over")

    def earlier(self) -> Iterator[tuple[int, dict[str, float]] | None]:
        """The steps that metrics.jsonl holds; None for a line that can't be read: torn by a full disk, overwritten."""
        with (self.output / METRICS).open("rb") as file:
            for line in filter(bytes.strip, file):
                try:
                    metrics = json.loads(line.decode("utf-8", "replace"))
                    yield int(metrics.pop("step")), metrics
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                    yield None

    def say(self, text: str) -> None:
        """Print one line for the user; log.txt has it too."""
        self.console.print(printable(text), markup=False, soft_wrap=True)
        self.log.write(text)

    def step(self, step: int, metrics: dict[str, float]) -> None:
        """Append one line to metrics.jsonl and one point to each curve."""
        self.metrics.write(metrics_line(step, metrics))
        self.metrics.flush()
        for board in self.boards:
            board.scalars(step, metrics)
        self.say(self._line(step, metrics))

    def metrics_bytes(self) -> int:
        """Length of metrics.jsonl so far, for the checkpoint."""
        self.metrics.flush()
        os.fsync(self.metrics.fileno())  # before the checkpoint that counts on it
        return self.metrics.tell()

    def completions(
        self, step: int, groups: Sequence[Group], scored: Sequence[GroupScores], advantages: Sequence[Sequence[Credit]]
    ) -> None:
        """Write completions/step_NNNNNN.jsonl, see `grpo.runs.rows`."""
        rows = self._rows("completions", f"step_{step:06d}", groups, scored, advantages)
        for board in self.boards:
            board.completions(step, rows)

    def evaluations(self, step: int, groups: Sequence[Group], scored: Sequence[GroupScores], kind: str = "") -> None:
        """Write evaluations/step_NNNNNN.jsonl: held-out completions after `step` steps."""
        self._rows("evaluations", f"step_{step:06d}{kind}", groups, scored, [None] * len(groups))

    def probes(self, step: int, groups: Sequence[Group], scored: Sequence[GroupScores]) -> None:
        """Write probes/step_NNNNNN.jsonl: the probe prompts after `step` steps, always by the same random numbers."""
        self._rows("probes", f"step_{step:06d}", groups, scored, [None] * len(groups))

    def _rows(
        self,
        folder: str,
        name: str,
        groups: Sequence[Group],
        scored: Sequence[GroupScores],
        advantages: Sequence[Sequence[Credit] | None],
    ) -> list[dict[str, Any]]:
        """Write rows to a file of their own and return them."""
        rows = [
            row
            for group, scores, group_advantages in zip(groups, scored, advantages, strict=True)
            for row in completion_rows(group, scores, group_advantages, self.token_texts)
        ]
        (self.output / folder).mkdir(exist_ok=True)
        with (self.output / folder / f"{name}.jsonl").open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(map(to_line, rows))
        return rows

    def progress(self, what: str, total: int, *, hidden: bool = False) -> Progress:
        """Show a bar for the tokens of one rollout, see `token_bar`."""
        if self.view is None or hidden:
            return token_bar(self.console, what, total, shown=not hidden)
        return self.view.progress(what, total)

    def watch(self) -> None:
        """Begin the live view, on a terminal that can show one."""
        console = self.console
        if draws(console) and console.height >= SMALLEST_HEIGHT:
            self.view = LiveView(console, self.config.steps)
            self.view.start()

    def conclude(self, step: int, verdict: Verdict, found: Sequence[Finding]) -> None:
        """Give the boards the verdict and the findings."""
        said = {"verdict": verdict.line, "next": verdict.next_command}
        said |= {f"finding {number}": one.line for number, one in enumerate(found, 1)}
        said = {name: printable(text) for name, text in said.items()}  # findings quote what a model wrote
        for board in self.boards:
            board.verdict(step, said)

    def _line(self, step: int, metrics: dict[str, float]) -> str:
        """Return the main figures of a step as one line."""
        done = max(1, step - self.first_step)
        left = (time.monotonic() - self.started) / done * (self.config.steps - step)
        rewards = [
            f"{name.split('/')[1].rsplit(':', 1)[-1]} {value:.2f}"
            for name, value in metrics.items()
            if name.startswith("rewards/") and name.endswith("/mean")
        ]
        parts = [
            f"step {step}/{self.config.steps}",
            f"reward {metrics['reward']:.3f}" if "reward" in metrics else "reward missing",
            *rewards,
            *([f"kl {metrics['kl']:.4f}"] if "kl" in metrics else []),
            f"entropy {metrics['entropy']:.2f}",
            f"length {metrics['completions/mean_length']:.0f}",
            f"cut {metrics['completions/clipped_ratio']:.0%}",
            f"{metrics['step_time']:.1f} s",
            f"{metrics['tokens_per_second']:.0f} tok/s",
            f"left {_clock(left)}",
        ]
        return "  ".join(parts)

    def close(self) -> None:
        """Flush and close every file."""
        if self.view is not None:
            self.view.stop()
            self.view = None
        self.metrics.close()
        for board in self.boards:
            board.close()


def metrics_line(step: int, metrics: dict[str, float]) -> str:
    """Return a step's line of metrics.jsonl."""
    return json.dumps({"step": step} | {name: _short(value) for name, value in metrics.items()}) + "\n"


def _short(value: float) -> float:
    """Enough digits to repeat a figure, few enough to read."""
    return float(f"{value:.9g}")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
