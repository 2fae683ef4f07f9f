"""`python -m distill.rejection`: samples, filters, writes an SFT corpus with its statistics.

Every prompt is answered several times, by an MLX model or by an OpenAI-compatible server. What is right, in the
format, in one language and not a copy stays; then a judge, if one is asked for; then the shortest, the most diverse or
the best judged of each prompt, without near duplicates and benchmark problems. Run it again to go on after a kill;
run it with shard=1/4 ... shard=4/4, or with mlx.launch, to share the work; change a rule and run it again to build
from the same samples.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from distill.rejection.config import RejectionConfig
from grpo.config.sections import ConfigError
from grpo.ranks.launch import place
from grpo.runs.command import Settled, configure, guarded, parse, refuse


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    options = parse("distill.rejection", str(__doc__), RejectionConfig, arguments, trains=False)
    try:
        settled = _placed_by_launcher(configure(options, RejectionConfig, "rejection"), options)
    except ConfigError as error:
        return refuse(error)

    if options.dry_run:
        from distill.dry_run import dry_run

        return dry_run(settled, "distill.rejection", sys.argv[1:] if arguments is None else arguments)

    def work() -> None:
        from distill.rejection.run import run_rejection

        run_rejection(settled.config, settled.output, preface=settled.lines())

    return guarded(work, go_on=f"python -m distill.rejection --output {settled.output} --resume", over_ranks=True)


def _placed_by_launcher(settled: Settled[RejectionConfig], options: argparse.Namespace) -> Settled[RejectionConfig]:
    """Give every process of mlx.launch its shard; ConfigError without --output, which they share."""
    rank, processes = place()
    if processes == 1 or settled.config.shard != "1/1":
        return settled
    if options.output is None and settled.config.output is None:
        raise ConfigError(f"--output is needed: the {processes} processes share it")
    config = settled.config.model_copy(update={"shard": f"{rank + 1}/{processes}"})
    return replace(settled, config=config)


if __name__ == "__main__":
    sys.exit(main())
