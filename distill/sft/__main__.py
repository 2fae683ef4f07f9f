"""`python -m distill.sft`: fine-tune on a corpus.

For cold starts, the R1 recipe's SFT and students by sequence distillation.
"""

import sys
from collections.abc import Sequence

from distill.sft.config import SFTConfig
from grpo.runs.command import configure, guarded, has_checkpoint, parse, refuse


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    from grpo.config.sections import ConfigError

    options = parse("distill.sft", str(__doc__), SFTConfig, arguments)
    try:
        settled = configure(options, SFTConfig, "sft")
    except ConfigError as error:
        return refuse(error)

    if options.dry_run:
        from distill.dry_run import dry_run

        return dry_run(settled, "distill.sft", sys.argv[1:] if arguments is None else arguments)

    def work() -> None:
        from distill.sft.run import run_sft

        told = settled.lines()
        changes = options.accept_changes
        run_sft(settled.config, settled.output, resume=options.resume, accept_changes=changes, preface=told)

    go_on = f"python -m distill.sft --output {settled.output} --resume"
    return guarded(work, go_on=go_on, saved=lambda: has_checkpoint(settled.output), over_ranks=True)


if __name__ == "__main__":
    sys.exit(main())
