"""`python -m distill.export`: write a trained adapter as a model of its own.

Fused, de-quantised, quantised, as GGUF, with a model card, on the hub. Every directory is loaded again and its
logprobs are compared before it is called done.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from distill.export.config import ExportConfig
from grpo.config.layers import build
from grpo.config.sections import ConfigError
from grpo.runs.command import guarded, refuse
from rewards.printable import say


def parse(arguments: Sequence[str] | None) -> ExportConfig:
    """The command line as a config."""
    parser = argparse.ArgumentParser(prog="python -m distill.export", description=__doc__)
    for name, field in ExportConfig.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(flag, action="store_true", help=field.description)
        elif field.annotation == bool | None:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=field.description)
        else:
            parser.add_argument(flag, required=field.is_required(), help=field.description)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return build(ExportConfig, given, source="arguments")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 the export would lose what the adapter learned, 2 the input is wrong."""
    try:
        config = parse(arguments)
    except ConfigError as error:
        return refuse(error)

    def work() -> None:
        from distill.export.run import run_export

        record = run_export(config)
        say(json.dumps(record, indent=1))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
