"""`python -m grpo.serve RUN`: the model a run trained, behind mlx_lm's OpenAI-compatible server.

    python -m grpo.serve runs/quickstart --port 8080
    curl localhost:8080/v1/completions -d '{"prompt": "1 2 + 3 4 =", "max_tokens": 32}'

RUN is a directory of grpo.train or distill.sft: its base model with its adapter, nothing fused or copied. What stands
after it goes to `mlx_lm server` as it is (`python -m mlx_lm server --help`). It listens on 127.0.0.1 unless told.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from grpo.config.parsing import read_yaml
from grpo.config.sections import ConfigError
from grpo.runs.command import guarded, refuse
from grpo.runs.directory import CONFIG_FILE
from rewards.printable import say

ADAPTER_FILE, MINIATURE = "adapters.safetensors", "miniature"


def served(run: Path) -> list[str]:
    """Return mlx_lm server's arguments for a run's model; ConfigError, one line, where there is none."""
    if not (run / CONFIG_FILE).exists():
        raise ConfigError(f"{run}: no run is there (no {CONFIG_FILE})")
    model = str(read_yaml(run / CONFIG_FILE).get("model", MINIATURE))
    if model == MINIATURE:
        model = str(run / MINIATURE)
    if not (run / ADAPTER_FILE).exists():
        raise ConfigError(f"{run}: no {ADAPTER_FILE} yet: it appears with the first checkpoint (save_every)")
    return ["--model", model, "--adapter-path", str(run)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped. Exit code: 0 stopped by the user, 2 the input is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m grpo.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a run")
    options, rest = parser.parse_known_args(arguments)
    try:
        given = served(options.run)
    except ConfigError as error:
        return refuse(error)

    def work() -> None:
        from mlx_lm import server

        from grpo.model.files import checked_folder
        from grpo.rollout.rendering import bound_templates

        try:
            checked_folder(given[1])
        except Exception as error:  # whatever the hub client and the reader of foreign files raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ConfigError(f"model {given[1]} can't be served: {reason}") from error
        say(f"serving {json.dumps(given[1])} with the adapter in {options.run}; Ctrl-C ends")
        bound_templates()
        sys.argv = ["grpo serve", *given, *rest]
        with contextlib.suppress(KeyboardInterrupt):
            server.main()
        say("stopped")
        sys.stdout.flush()
        os._exit(0)  # its threads are still in MLX, which aborts when the interpreter goes

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
