"""Print a supervised run: a line a step, and the learning curve as a table."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from grpo.runs.logger import RunLogger


class SFTLogger(RunLogger):
    """metrics.jsonl, tensorboardX and the terminal, with the figures of supervised steps."""

    def _line(self, step: int, metrics: dict[str, float]) -> str:
        done = max(1, step - self.first_step)
        left = (time.monotonic() - self.started) / done * (self.config.steps - step)
        parts = [
            f"step {step}/{self.config.steps}",
            f"loss {metrics['loss']:.4f}",
            *([f"validation {metrics['eval/loss']:.4f}"] if "eval/loss" in metrics else []),
            f"rate {metrics['learning_rate']:.1e}",
            f"norm {metrics['grad_norm']:.2f}",
            f"{metrics['tokens_per_second']:.0f} tok/s",
            f"{metrics['memory/peak_bytes'] / 1e9:.1f} GB",
            f"left {int(left) // 60}:{int(left) % 60:02d}",
        ]
        return "  ".join(parts)


def curve_table(curve: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: step, training loss, validation loss, improvement on the start in percent; the best row is marked."""
    start, best = curve[0]["validation_loss"], min(point["validation_loss"] for point in curve)
    lines = ["| step | loss | validation loss | improvement |", "|---:|---:|---:|---:|"]
    for point in curve:
        loss, train = point["validation_loss"], point["loss"]
        mark = " (best)" if loss == best else ""
        shown = "" if train is None else f"{train:.4f}"
        lines.append(f"| {point['step']} | {shown} | {loss:.4f}{mark} | {100 * (start - loss) / start:+.1f}% |")
    return "\n".join(lines) + "\n"
