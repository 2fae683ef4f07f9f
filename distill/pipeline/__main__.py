"""`python -m distill.pipeline`: run the DeepSeek-R1 recipe stage by stage from one YAML file.

At the end stages.md in the output directory shows every stage on the same held-out problems. Run it again to go on
after a kill: a finished stage is not run again unless its inputs have changed. Without arguments: the recipe on
the embedded model, nothing downloaded.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from distill.pipeline.config import (
    CONFIG,
    PipelineConfig,
    Stage,
    check,
    references_by_name,
    sampled_by,
    settings_of,
)
from grpo.config.layers import build
from grpo.config.loading import load
from grpo.config.parsing import read_yaml
from grpo.config.reference import describe
from grpo.config.sections import ConfigError
from grpo.runs.command import guarded, refuse
from rewards.printable import say

QUICKSTART = Path(__file__).resolve().parents[1] / "recipes" / "quickstart.yaml"
SHOWN = ("steps", "total_steps", "epochs", "samples", "max_prompts", "learning_rate", "count")


def plan(config: PipelineConfig) -> str:
    """List the stages that would run, a line each, with every config validated."""
    check(config)
    lines = []
    for name, stage in config.stages.items():
        settings = settings_of(config, name, references_by_name(config, name))
        sources = [f"{key} from {source}" for key, source in stage.take.items()]
        sources += [f"teacher {stage.teacher}"] if stage.teacher else []
        sources += [f"as many tokens as {' + '.join(sampled_by(stage))}"] if stage.equal_tokens else []
        keys = [key for key in SHOWN if getattr(settings, key, None) is not None]
        keys = [key for key in keys if not (key == "steps" and stage.equal_tokens)]
        told = [f"{key} {getattr(settings, key)}" for key in keys]
        start = f" <- {stage.start}" if stage.start else ""
        kind = f"{stage.kind}, a control" if stage.control else stage.kind
        lines.append(f"{name} ({kind}){start}: {', '.join([*sources, *told])}".rstrip(": "))
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m distill.pipeline",
        description=__doc__,
        epilog=_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="YAML file; without it the packaged recipe on the embedded model")
    parser.add_argument("--output", type=Path, help="directory; without it runs/ and the config's name")
    parser.add_argument("--stage", metavar="NAME", help="run this stage alone, again if it is done")
    parser.add_argument(
        "--dry-run", action="store_true", help="check every stage: settings, files, rewards, memory; run nothing"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. seed=12 stages.zero.config.steps=40")
    return parser.parse_intermixed_args(arguments)


def _keys() -> str:
    stage = [f"  stages.NAME.{name}\n      {field.description}" for name, field in Stage.model_fields.items()]
    lines = describe(PipelineConfig)
    kinds = (
        "Kinds rl, sft, rejection, student take the keys of grpo.train, distill.sft, distill.rejection, distill.student"
    )
    return "\n".join([lines, *stage, f"\n{kinds} (see their --help)."])


def configure(options: argparse.Namespace) -> tuple[PipelineConfig, Path]:
    """The config and the directory; an output alone takes the config recorded there."""
    recorded = options.output / CONFIG if options.output is not None else None
    if options.config is None and not options.overrides and recorded is not None and recorded.exists():
        config = build(PipelineConfig, read_yaml(recorded), source=str(recorded))
    else:
        config = load(PipelineConfig, options.config or QUICKSTART, options.overrides)
    if options.stage is not None and options.stage not in config.stages:
        raise ConfigError(f"--stage must be one of {', '.join(config.stages)}, got {options.stage}")
    name = options.config.stem if options.config is not None else "pipeline_quickstart"
    return config, options.output or Path(config.output or Path("runs") / name)


def _dry_run(config: PipelineConfig) -> int:
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # look, don't download
        os.environ.setdefault(variable, "1")
    from grpo.cpu.blas import load_blas

    load_blas()  # before anything imports mlx
    from distill.pipeline.rehearsal import rehearse_pipeline

    return rehearse_pipeline(config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    options = parse(arguments)
    try:
        config, output = configure(options)
        said = plan(config)
    except ConfigError as error:
        return refuse(error)
    if options.dry_run:
        say(f"{said}\n")
        return _dry_run(config)

    def work() -> None:
        from distill.pipeline.run import run_pipeline

        run_pipeline(config, output, only=options.stage)

    return guarded(work, go_on=f"python -m distill.pipeline --output {output}")


if __name__ == "__main__":
    sys.exit(main())
