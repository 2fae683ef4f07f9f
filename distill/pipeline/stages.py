"""Run each kind of stage in its directory. Each continues where an earlier process was stopped.

To add a kind: its config in `distill.pipeline.config`, a function here, a line in KINDS.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.pipeline.miniature import run_miniature, run_miniature_rows, run_miniature_student
from distill.pipeline.products import CORPUS, MODEL
from distill.pipeline.sections import GivenModel, Pruning, Selecting, WrittenRows
from distill.rejection.config import RejectionConfig
from distill.rejection.run import run_rejection
from distill.sft.config import SFTConfig
from distill.sft.run import run_sft
from distill.student.blocks import choose_blocks
from distill.student.config import Student
from distill.student.prune import prune
from distill.student.run import run_student
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.runs.interrupt import StopFlag
from rewards.base import prompt_text
from rewards.printable import say


def run_rl(config: Config, folder: Path) -> dict[str, Any]:
    """GRPO, as `python -m grpo.train`."""
    from grpo.opening import open_run
    from grpo.runs import checkpoint

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
    from distill.rejection.records import read

    summary = run_rejection(config, folder)
    if summary is None:
        raise ConfigError("shard must be left out in a pipeline: the stage needs the whole corpus")
    if not summary["rows"]:
        raise ConfigError(f"nothing was kept of {summary['sampled']} completions: {folder / 'funnel.md'} says why")
    tokens = sum(sample.tokens for record in read(folder) for sample in record.samples)
    return {**{key: summary[key] for key in ("sampled", "kept", "mixed_in", "rows")}, "sampled_tokens": tokens}


def _prune(config: Pruning, folder: Path) -> dict[str, Any]:
    partial = folder / f".partial_{MODEL}"
    shutil.rmtree(partial, ignore_errors=True)
    chosen: dict[str, Any] = {}
    blocks = config.blocks
    if blocks is None:
        rows = config.model_dump(include={"model", "data", "max_rows", "template", "system_prompt"})
        with StopFlag() as stop:
            blocks = choose_blocks(SFTConfig(**rows), config.keep or 0, folder / "dropped.json", stop.check, say)
        chosen["blocks"] = blocks
    figures = prune(config.model, blocks, partial)
    shutil.rmtree(folder / MODEL, ignore_errors=True)
    partial.rename(folder / MODEL)
    return {**figures, **chosen}


def _select(config: Selecting, folder: Path) -> dict[str, Any]:
    from distill.select import Wish, run_select

    wish = Wish(**config.model_dump(exclude={"data", "distance", "embedding_model"}))
    found = run_select(config.data, folder / CORPUS, wish, distance=config.distance, model=config.embedding_model)
    if not found.rows:
        raise ConfigError(
            f"nothing was selected from {config.data}: " + ", ".join(f"{n} {name}" for name, n in found.steps)
        )
    return {"rows": len(found.rows), "selected_from": found.steps[0][1]}


def _rows(config: WrittenRows, folder: Path) -> dict[str, Any]:
    import envs
    from distill.corpus.row import CorpusRow, write_corpus

    env = envs.make(config.data, **{"seed": config.seed, **config.data_options})
    rows = []
    for task in env.tasks(config.split)[: config.count]:
        try:
            said = config.completion.format_map({"prompt": prompt_text(task.prompt), "id": task.id, **task.columns})
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            known = ", ".join(["prompt", "id", *task.columns])
            raise ConfigError(f"completion can't be written: {error}; a task of {config.data} has {known}") from None
        rows.append(
            CorpusRow(
                prompt=prompt_text(task.prompt),
                completion=said,
                requires_reasoning="<think>" in said,
                source=config.data,
            )
        )
    write_corpus(folder / CORPUS, rows)
    return {"rows": len(rows)}


def _given(config: GivenModel, folder: Path) -> dict[str, Any]:
    return {"model": config.model}


KINDS: dict[str, Callable[[Any, Path], dict[str, Any]]] = {
    "model": _given,
    "rl": run_rl,
    "sft": _sft,
    "student": _student,
    "rejection": _rejection,
    "prune": _prune,
    "select": _select,
    "rows": _rows,
    "miniature": run_miniature,
    "miniature_student": run_miniature_student,
    "miniature_rows": run_miniature_rows,
}


def steps_for(tokens: int, batch: int, mean_length: float) -> int:
    """Return the number of rollout batches that sample about `tokens`: tokens / (batch * mean length), rounded up."""
    return max(1, math.ceil(tokens / (batch * mean_length)))
