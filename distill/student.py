"""`python -m distill.student`: a corpus or a live teacher -> a LoRA student.

method: sequence   SFT on the teacher's text (the R1 way)
        logit      the teacher's distribution at each token of a corpus
        on_policy  the student samples, the teacher scores each token
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.command import configure, guarded, parse, refuse
from distill.student_config import METHODS, LogitStudent, OnPolicyStudent, SequenceStudent, Student
from grpo.config import ConfigError, read_yaml


def run_student(config: Student, output: Path, *, resume: bool = False) -> dict[str, Any]:
    """Make the student in `output`; returns what summary.json holds. Errors as `distill.sft.run_sft`."""
    if isinstance(config, OnPolicyStudent):
        return _on_policy(config, output, resume=resume)
    if isinstance(config, LogitStudent):
        return _logit(config, output, resume=resume)
    from distill.sft import run_sft

    return run_sft(config, output, resume=resume)


def _logit(config: LogitStudent, output: Path, *, resume: bool) -> dict[str, Any]:
    from distill.logit import LogitObjective, Matching, cache_folder
    from distill.sft_trainer import run
    from distill.teacher import load_teacher, require_same_vocabulary
    from grpo.policy import Policy

    matching = Matching(config.divergence, config.distill_temperature, config.top_k)

    def make(policy: Policy, folder: Path) -> LogitObjective:
        def load() -> Policy:
            teacher = load_teacher(config.teacher, config.teacher_adapter, dtype=config.dtype)
            require_same_vocabulary(policy.tokenizer, teacher.tokenizer)
            return teacher

        root = Path(config.teacher_cache) if config.teacher_cache is not None else folder / "teacher"
        cache = cache_folder(root, config.teacher, config.teacher_adapter, matching)
        return LogitObjective(load, matching, cache, logits_chunk=config.logits_chunk)

    return run(config, output, resume=resume, make_objective=make)


def _on_policy(config: OnPolicyStudent, output: Path, *, resume: bool) -> dict[str, Any]:
    import functools
    import json

    from distill.command import say
    from distill.on_policy import OnPolicyTrainer
    from distill.teacher import load_teacher
    from grpo import checkpoint
    from grpo.interrupt import StopFlag
    from grpo.run import open_run

    with checkpoint.lock(output), StopFlag() as stop:
        teacher = load_teacher(config.teacher, config.teacher_adapter, dtype=config.dtype)
        make = functools.partial(OnPolicyTrainer, teacher=teacher)
        summary = open_run(config, output, resume=resume, say=say, stop=stop, make=make).train(stop)
        checkpoint.write_text(output / "summary.json", json.dumps(summary, indent=1))
    return summary


def method_of(config: Path | None, output: Path | None, overrides: Sequence[str]) -> type[Student]:
    """Which config the method asks for: an override's, the file's, or the recorded run's; ConfigError if none."""
    method = next((text.partition("=")[2] for text in overrides if text.startswith("method=")), None)
    recorded = output / "config.yaml" if output is not None else None
    if config is None and recorded is not None and recorded.exists():
        config = recorded
    if method is None and config is not None:
        method = read_yaml(config).get("method")
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method}")
    return METHODS[method]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    options = parse("distill.student", _about(), SequenceStudent, arguments)
    try:
        config, output = configure(options, method_of(options.config, options.output, options.overrides), "student")
    except ConfigError as error:
        return refuse(error)

    def work() -> None:
        run_student(config, output, resume=options.resume)

    return guarded(work, go_on=f"Go on with: python -m distill.student --output {output} --resume")


def _about() -> str:
    from distill.student_config import own_keys

    rule = "sequence and logit take the keys of distill.sft (below), on_policy those of grpo.train, and:"
    return f"{__doc__}\n{rule}\n{own_keys()}"


if __name__ == "__main__":
    sys.exit(main())
