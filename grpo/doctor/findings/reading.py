"""Read a run directory into evidence: settings, metrics, a spread of its completions, held-out ones, the log."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpo.config import Config
from grpo.doctor.findings.evidence import Evidence, Metrics, Sample
from grpo.doctor.findings.texts import gold_of
from grpo.report.reading import number, parsed, read_lines, read_yaml

FILES, ROWS = 8, 512  # saved steps that are read, and completions of each
GOLD_COLUMNS = ("answer", "column/answer", "solution", "target", "gold", "label")
STEP = re.compile(r"step_(\d+)(_greedy)?")
LOG_BYTES = 1_000_000


class RunError(ValueError):
    """There is no run to look at; the message is one clear line."""


def read(run: Path) -> Evidence:
    """Return the evidence of a run directory, finished or not.

    Raises RunError where it holds no finished step.
    """
    if not run.is_dir():
        raise RunError(f"no run directory {run}")
    if not (run / "metrics.jsonl").is_file():
        raise RunError(
            f"{run} holds no metrics.jsonl: a run directory is what --output of grpo.train named{_stages(run)}"
        )
    steps = [_metrics(row) for row in read_lines(run / "metrics.jsonl")[0]]
    steps = [metrics for metrics in steps if "step" in metrics]
    if not steps:
        raise RunError(f"{run / 'metrics.jsonl'} holds no finished step yet")
    evaluations = _files(run / "evaluations")
    return Evidence(
        settings=_settings(run / "config.yaml"),
        steps=steps,
        samples=[sample for step, path in _spread(_completions(run)) for sample in _samples(path, step)],
        held_out={step: _samples(path, step) for step, path in _ends([f for f in evaluations if not _greedy(f)])},
        greedy={step: _samples(path, step) for step, path in _ends([f for f in evaluations if _greedy(f)])},
        figures=_figures(run / "summary.json"),
        log=_log(run / "log.txt"),
    )


def _stages(run: Path) -> str:
    """Return which folders below hold runs, as an ending of a message."""
    stages = sorted(path.parent.name for path in run.glob("*/metrics.jsonl"))
    return f"; its stages {', '.join(stages)} are such" if stages else ""


def _metrics(row: dict[str, Any]) -> Metrics:
    values = {name: number(value) for name, value in row.items()}
    return {name: value for name, value in values.items() if value is not None}


def _settings(path: Path) -> dict[str, Any]:
    """Return the config of a run; what is missing in it, or the whole of one that can't be read, is the default's."""
    return Config().model_dump(mode="json") | read_yaml(path)


def _figures(path: Path) -> dict[str, Any]:
    try:
        summary = parsed(path.read_bytes()) or {}
    except OSError:
        return {}
    return {when: summary[when] for when in ("before", "after") if isinstance(summary.get(when), dict)}


def _log(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(LOG_BYTES)
            size = path.stat().st_size
            file.seek(max(len(head), size - LOG_BYTES))
            return (head + file.read()).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _completions(run: Path) -> list[Path]:
    return _files(run / "completions")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step_*.jsonl") if STEP.fullmatch(path.stem))


def _greedy(path: Path) -> bool:
    return path.stem.endswith("_greedy")


def _numbered(path: Path) -> tuple[int, Path]:
    match = STEP.fullmatch(path.stem)
    assert match is not None
    return int(match[1]), path


def _spread(files: Sequence[Path]) -> list[tuple[int, Path]]:
    """Return the first and the last file and some in between, as evenly as they come."""
    if len(files) > FILES:
        files = [files[round(i * (len(files) - 1) / (FILES - 1))] for i in range(FILES)]
    return [_numbered(path) for path in files]


def _ends(files: Sequence[Path]) -> list[tuple[int, Path]]:
    return [_numbered(path) for path in dict.fromkeys([*files[:1], *files[-1:]])]


def _samples(path: Path, step: int) -> list[Sample]:
    try:
        rows = read_lines(path)[0][:ROWS]
    except OSError:
        return []
    return [sample for row in rows if (sample := _sample(row, step)) is not None]


def _sample(row: dict[str, Any], step: int) -> Sample | None:
    text, rewards = row.get("completion"), row.get("rewards")
    if not isinstance(text, str):
        return None
    tokens = row.get("token_texts")
    gold = next((row[name] for name in GOLD_COLUMNS if name in row), None)
    return Sample(
        step=step,
        task=str(row.get("task", "")),
        prompt=str(row.get("prompt", "")),
        text=text,
        gold=gold_of(gold),
        rewards={name: number(value) for name, value in rewards.items()} if isinstance(rewards, dict) else {},
        reward=number(row.get("reward")),
        tokens=int(number(row.get("tokens")) or 0),
        stop_reason=str(row.get("stop_reason", "")),
        last_token=str(tokens[-1]) if isinstance(tokens, list) and tokens else "",
    )
