"""Train a student by the method of its config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.student.config import LogitStudent, OnPolicyStudent, Student


def run_student(
    config: Student,
    output: Path,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    preface: Sequence[str] = (),
) -> dict[str, Any]:
    """Make the student in `output`, the preface said first; returns what summary.json holds.

    Errors as `distill.sft.run_sft`.
    """
    how: dict[str, Any] = {"resume": resume, "accept_changes": accept_changes, "preface": preface}
    if isinstance(config, OnPolicyStudent):
        return _on_policy(config, output, **how)
    if isinstance(config, LogitStudent):
        return _logit(config, output, **how)
    from distill.sft.run import run_sft

    return run_sft(config, output, **how)


def _logit(
    config: LogitStudent, output: Path, *, resume: bool, accept_changes: bool, preface: Sequence[str]
) -> dict[str, Any]:
    from distill.sft.run import run
    from distill.student.logit import LogitObjective, Matching, cache_folder
    from distill.student.teacher import require_same_vocabulary
    from grpo.model.frozen import load_teacher
    from grpo.model.policy import Policy
    from grpo.runs import fingerprints

    beside = fingerprints.of_teacher(config.teacher, config.teacher_adapter)
    matching = Matching(config.divergence, config.distill_temperature, config.top_k)

    def make(policy: Policy, folder: Path) -> LogitObjective:
        def load() -> Policy:
            teacher = load_teacher(config.teacher, config.teacher_adapter, dtype=config.dtype)
            require_same_vocabulary(policy.tokenizer, teacher.tokenizer)
            return teacher

        weights = beside[f"teacher {config.teacher}"]
        root = Path(config.teacher_cache) if config.teacher_cache is not None else folder / "teacher"
        cache = cache_folder(root, config.teacher, config.teacher_adapter, matching, weights)
        return LogitObjective(load, matching, cache, logits_chunk=config.logits_chunk)

    how: dict[str, Any] = {"resume": resume, "accept_changes": accept_changes, "preface": preface}
    return run(config, output, make_objective=make, beside=beside, **how)


def _on_policy(
    config: OnPolicyStudent, output: Path, *, resume: bool, accept_changes: bool, preface: Sequence[str]
) -> dict[str, Any]:
    import contextlib
    import functools
    import json

    from distill.student.on_policy import OnPolicyTrainer
    from grpo.model.frozen import load_teacher
    from grpo.opening import open_run
    from grpo.ranks.session import joined
    from grpo.ranks.settings import require_roles, same_settings
    from grpo.runs import checkpoint, fingerprints
    from grpo.runs.command import Settled
    from grpo.runs.interrupt import StopFlag
    from rewards.printable import say

    require_roles(config)
    with StopFlag() as stop, joined(stop, {"command": "distill.student"}) as ranks:
        settled = same_settings(Settled(config, output), resume=resume)
        config, output = settled.config, settled.output
        with checkpoint.lock(output) if ranks.writes else contextlib.nullcontext():
            teacher = load_teacher(config.teacher, config.teacher_adapter, dtype=config.dtype)
            make = functools.partial(OnPolicyTrainer, teacher=teacher)
            how: dict[str, Any] = {"resume": resume, "accept_changes": accept_changes, "preface": preface}
            how["beside"] = fingerprints.of_teacher(config.teacher, config.teacher_adapter)
            trainer = open_run(config, output, say=say, stop=stop, make=make, **how)
            with trainer.logger.log.failures():
                summary = trainer.train(stop)
            if ranks.writes:
                checkpoint.write_text(output / "summary.json", json.dumps(summary, indent=1))
    return summary
