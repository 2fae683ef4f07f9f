"""`python -m grpo.train`:

GRPO from a config to a trained adapter. Without arguments: the embedded model, nothing downloaded.
"""

import argparse
import errno
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpo.config import Config, load_config
from grpo.config.loading import build, describe, read_yaml
from grpo.config.sections import ConfigError
from grpo.cpu import allocator

QUICKSTART = Path(__file__).resolve().parent / "recipes" / "quickstart.yaml"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m grpo.train",
        description=__doc__,
        epilog=describe(Config),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="YAML file; without it the packaged quickstart")
    parser.add_argument("--output", type=Path, help="run directory; without it a new one under runs/")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in --output, if there is one"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys, e.g. steps=100 lora.rank=8")
    return parser.parse_intermixed_args(arguments)


def configure(options: argparse.Namespace) -> tuple[Config, Path]:
    """The run's config and directory.

    `--resume` with nothing but an output takes the config that is recorded there.
    """
    recorded = options.output / "config.yaml" if options.output is not None else None
    if (
        options.resume
        and recorded is not None
        and recorded.exists()
        and options.config is None
        and not options.overrides
    ):
        config = build(Config, read_yaml(recorded), source=str(recorded))
    else:
        config = load_config(options.config or QUICKSTART, options.overrides)
    name = options.config.stem if options.config is not None else "quickstart"
    return config, options.output or (
        Path(config.output) if config.output else _free(Path("runs") / name, options.resume)
    )


def _free(path: Path, resume: bool) -> Path:
    """The first of runs/NAME, runs/NAME-2, ... that holds no run; the last that does, to be resumed."""
    candidates = [path, *(path.with_name(f"{path.name}-{n}") for n in range(2, 1000))]
    used = [candidate for candidate in candidates if (candidate / "config.yaml").exists()]
    return used[-1] if resume and used else next(candidate for candidate in candidates if candidate not in used)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    options = parse(arguments)
    try:
        config, output = configure(options)
    except ConfigError as error:
        return _refuse(error)
    return _run(config, output, resume=options.resume)


def _run(config: Config, output: Path, *, resume: bool) -> int:
    from grpo.cpu.blas import load_blas

    blas = load_blas()  # before anything imports mlx
    import envs
    from grpo.opening import open_run
    from grpo.runs import checkpoint
    from grpo.runs.interrupt import Interrupted, StopFlag, TrainingFailed

    say = _Speaker()
    try:
        with checkpoint.lock(output), StopFlag() as stop:
            say(
                f"run directory {output}; matrix products by {blas.name}"
                + (f"; warning: {blas.warning}" if blas.warning else "")
            )
            trainer = open_run(config, output, resume=resume, say=say, stop=stop)
            summary = trainer.train(stop)
            checkpoint.write_text(output / "summary.json", json.dumps(summary, indent=1))
            _conclude(output, config, summary)
    except (ConfigError, envs.DataError) as error:
        return _refuse(error)
    except Interrupted as error:
        say(f"{error}; what was done is saved. Go on with: python -m grpo.train --output {output} --resume")
        return error.exit_code
    except TrainingFailed as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES) or "disk is full" in str(
            error
        ):
            return _refuse(error, f"; the run's last checkpoint in {output} is whole: make room and add --resume")
        raise
    return 0


class _Speaker:
    def __call__(self, text: str) -> None:
        print(text, flush=True)


def _refuse(error: Exception, advice: str = "") -> int:
    print(f"error: {' '.join(str(error).split())}{advice}", file=sys.stderr)
    return 2


def _conclude(output: Path, config: Config, summary: dict[str, Any]) -> None:
    """The before/after table and where to look next."""
    from rich.console import Console
    from rich.table import Table

    from grpo.report.page import render
    from grpo.report.reading import read_runs
    from grpo.runs import checkpoint

    console = Console()
    before, after = summary["before"], summary["after"]
    if before and after:
        table = Table(title=f"held-out tasks ({after['tasks']}), {summary['steps']} steps, {summary['seconds']:.0f} s")
        for column in ("", "before", "after"):
            table.add_column(column, justify="left" if not column else "right")
        for label, first, last in _rows(config, before, after):
            table.add_row(label, f"{first:.3f}", f"{last:.3f}")
        console.print(table)
    page = render(read_runs([output]))
    checkpoint.write_text(output / "report.html", page)
    say = functools.partial(console.print, soft_wrap=True, highlight=False)
    say(f"curves, rollouts, warnings: {output}/report.html   tensorboard --logdir {output}")
    say(f"every completion: {output}/completions/   the adapter: {output}/adapters.safetensors")


def _rows(config: Config, before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, float, float]]:
    names = [name for name in [*config.reward_weights, "mean_length", "truncated"] if name in before and name in after]
    rows = [(name, before[name], after[name]) for name in names]
    if "greedy" in after and "greedy" in before:
        rows += [
            (f"{name}, greedy", before["greedy"][name], after["greedy"][name])
            for name in names
            if name in config.reward_weights and name in before["greedy"] and name in after["greedy"]
        ]
    return rows


if __name__ == "__main__":
    allocator.restart()
    sys.exit(main())
