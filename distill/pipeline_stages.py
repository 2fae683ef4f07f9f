"""What each kind of stage does in its directory. Each goes on where an earlier process was stopped.

To add a kind: its config in `distill.pipeline_config`, a function here, a line in KINDS.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.command import say
from distill.config import SFTConfig
from distill.pipeline_config import GivenModel
from distill.pipeline_miniature import run_miniature, run_miniature_rows, run_miniature_student
from distill.rejection import run_rejection
from distill.rejection_config import RejectionConfig
from distill.sft import run_sft
from distill.student import run_student
from distill.student_config import Student
from grpo.config import Config, ConfigError


def run_rl(config: Config, folder: Path) -> dict[str, Any]:
    """GRPO, as `python -m grpo.train`."""
    from grpo import checkpoint
    from grpo.interrupt import StopFlag
    from grpo.run import open_run

    with checkpoint.lock(folder), StopFlag() as stop:
        summary = open_run(config, folder, resume=True, say=say, stop=stop).train(stop)
        checkpoint.write_text(folder / "summary.json", json.dumps(summary, indent=1))
    return {"steps": summary["steps"], "sampled_tokens": summary["tokens"]}


def _sft(config: SFTConfig, folder: Path) -> dict[str, Any]:
    return _learned(run_sft(config, folder, resume=True))


def _student(config: Student, folder: Path) -> dict[str, Any]:
    summary = run_student(config, folder, resume=True)
    if config.method == "on_policy":
        return {"steps": summary["steps"], "sampled_tokens": summary["tokens"]}
    return _learned(summary)


def _learned(summary: dict[str, Any]) -> dict[str, Any]:
    best = summary["best"]
    return {
        "steps": summary["steps"],
        "examples": summary["examples"],
        "learned_tokens": summary["tokens"],
        "validation_loss": None if best is None else best["validation_loss"],
    }


def _rejection(config: RejectionConfig, folder: Path) -> dict[str, Any]:
    from distill.rejection_records import read

    summary = run_rejection(config, folder)
    if summary is None:
        raise ConfigError("shard must be left out in a pipeline: the stage needs the whole corpus")
    if not summary["rows"]:
        raise ConfigError(f"nothing was kept of {summary['sampled']} completions: {folder / 'funnel.md'} says why")
    tokens = sum(sample.tokens for record in read(folder) for sample in record.samples)
    return {**{key: summary[key] for key in ("sampled", "kept", "mixed_in", "rows")}, "sampled_tokens": tokens}


def _given(config: GivenModel, folder: Path) -> dict[str, Any]:
    return {"model": config.model}


KINDS: dict[str, Callable[[Any, Path], dict[str, Any]]] = {
    "model": _given,
    "rl": run_rl,
    "sft": _sft,
    "student": _student,
    "rejection": _rejection,
    "miniature": run_miniature,
    "miniature_student": run_miniature_student,
    "miniature_rows": run_miniature_rows,
}


def steps_for(tokens: int, batch: int, mean_length: float) -> int:
    """Rollout batches that sample about so many tokens: tokens / (batch * mean length), rounded up."""
    return max(1, math.ceil(tokens / (batch * mean_length)))
