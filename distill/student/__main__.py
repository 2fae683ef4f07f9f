"""`python -m distill.student`: a corpus or a live teacher -> a LoRA student.

method: sequence   SFT on the teacher's text (the R1 way)
        logit      the teacher's distribution at each token of a corpus
        on_policy  the student samples, the teacher scores each token
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from distill.student.config import METHODS, SequenceStudent, Student
from grpo.config.parsing import read_yaml
from grpo.config.sections import ConfigError
from grpo.runs.command import CONFIG_FILE, configure, guarded, has_checkpoint, parse, refuse
from grpo.runs.ordinary import require_ordinary


def method_of(config: Path | None, output: Path | None, overrides: Sequence[str]) -> type[Student]:
    """Return the config class of the method: an override's, the file's, or the recorded run's; ConfigError if none."""
    method = next((text.partition("=")[2] for text in overrides if text.startswith("method=")), None)
    if config is None and output is not None and (output / CONFIG_FILE).exists():
        require_ordinary(output)
        config = output / CONFIG_FILE
    if method is None and config is not None:
        method = read_yaml(config).get("method")
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method}")
    return METHODS[method]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    options = parse("distill.student", _about(), SequenceStudent, arguments)
    try:
        settled = configure(options, method_of(options.config, options.output, options.overrides), "student")
    except ConfigError as error:
        return refuse(error)

    if options.dry_run:
        from distill.dry_run import dry_run

        return dry_run(settled, "distill.student", sys.argv[1:] if arguments is None else arguments)

    def work() -> None:
        from distill.student.run import run_student

        told = settled.lines()
        changes = options.accept_changes
        run_student(settled.config, settled.output, resume=options.resume, accept_changes=changes, preface=told)

    go_on = f"python -m distill.student --output {settled.output} --resume"
    return guarded(work, go_on=go_on, saved=lambda: has_checkpoint(settled.output), over_ranks=True)


def _about() -> str:
    from distill.student.config import own_keys

    rule = "sequence and logit take the keys of distill.sft (below), on_policy those of grpo.train, and:"
    return f"{__doc__}\n{rule}\n{own_keys()}"


if __name__ == "__main__":
    sys.exit(main())
