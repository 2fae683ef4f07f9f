"""`python -m distill.sft`:

supervised fine-tuning on a corpus: cold starts, the R1 recipe's SFT, students by sequence distillation.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.command import configure, guarded, parse
from distill.config import SFTConfig


def run_sft(config: SFTConfig, output: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train in `output`, from its newest whole checkpoint if `resume`; returns what summary.json holds.

    The adapter in `output` is the best by validation loss, or the last where nothing is validated. Raises ConfigError
    or envs.DataError, one line, for what the user can put right, and Interrupted after saving.
    """
    from distill.sft_trainer import run
    from distill.supervised import next_tokens

    return run(config, output, resume=resume, make_objective=lambda _policy, _folder: next_tokens)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    from grpo.config import ConfigError

    options = parse("distill.sft", str(__doc__), SFTConfig, arguments)
    try:
        config, output = configure(options, SFTConfig, "sft")
    except ConfigError as error:
        from distill.command import refuse

        return refuse(error)

    def work() -> None:
        run_sft(config, output, resume=options.resume)

    return guarded(work, go_on=f"Go on with: python -m distill.sft --output {output} --resume")


if __name__ == "__main__":
    sys.exit(main())
