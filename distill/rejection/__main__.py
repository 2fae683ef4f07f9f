"""`python -m distill.rejection`: samples, filters, writes an SFT corpus with its statistics.

Every prompt is answered several times, by an MLX model or by an OpenAI-compatible server. What is right, in the
format, in one language and not a copy stays; then a judge, if one is asked for; then the shortest, the most diverse or
the best judged of each prompt, without near duplicates and benchmark problems. Run it again to go on after a kill;
run it with shard=1/4 ... shard=4/4 to share the work; change a rule and run it again to build from the same samples.
"""

import sys
from collections.abc import Sequence

from distill.rejection.config import RejectionConfig
from grpo.config.sections import ConfigError
from grpo.runs.command import configure, dry_run, guarded, parse, refuse, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    options = parse("distill.rejection", str(__doc__), RejectionConfig, arguments, trains=False)
    try:
        settled = configure(options, RejectionConfig, "rejection")
    except ConfigError as error:
        return refuse(error)

    if options.dry_run:
        return dry_run(settled)

    def work() -> None:
        for line in settled.lines():
            say(line)
        from distill.rejection.run import run_rejection

        run_rejection(settled.config, settled.output)

    return guarded(work, go_on=f"python -m distill.rejection --output {settled.output} --resume")


if __name__ == "__main__":
    sys.exit(main())
