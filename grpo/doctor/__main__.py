"""`python -m grpo.doctor`: whether this machine can run a config, and what to do where it can't.

One line an item, marked ok, warn or FAIL. Exit code 0 = it can run, 2 = the config, model or data is wrong, 1 = it does
not fit or something is missing on the machine. Nothing is downloaded and no weights are loaded.
A config for another command, as its first line `# command: distill.sft` says, is looked at by that command's --dry-run.

`python -m grpo.doctor RUN`, with a run directory: what is wrong with that run, finished or not, with the evidence and
the remedy, the most probable cause first; and its verdict.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from grpo.config import Config
from grpo.config.reference import describe
from grpo.config.sections import ConfigError
from grpo.doctor.machine import machine
from grpo.doctor.model import model
from grpo.doctor.prompt import prompt
from grpo.doctor.report import Report
from grpo.doctor.run import data, disk, memory, rewards, work
from grpo.runs import tuned
from grpo.runs.command import Settled, command_of, configure
from grpo.train import QUICKSTART_SOURCE, quickstart
from rewards.printable import say

OTHERS = ("distill.sft", "distill.rejection", "distill.student", "distill.pipeline")  # a config's first line names them


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m grpo.doctor",
        description=__doc__,
        epilog=describe(Config),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="YAML file; without it the packaged quickstart")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="measure max_rows and token_budget with the model in about ten seconds and record them for later runs",
    )
    parser.set_defaults(output=None, resume=False)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="RUN | key=value",
        help="run directories to diagnose, or config keys, e.g. steps=100 lora.rank=8",
    )
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(arguments)
    runs = [word for word in options.overrides if "=" not in word or Path(word).is_dir()]
    if runs:
        if len(runs) < len(options.overrides) or options.config is not None:
            return _conclude_wrong([f"run directory {runs[0]} stands beside settings: diagnose runs without any"])
        from grpo.doctor.findings.show import show

        return show([Path(run) for run in runs])
    if (other := command_of(options.config)) in OTHERS and not options.tune:
        found: int = importlib.import_module(f"{other}.__main__").main(_words(options))
        return found
    try:
        settled = configure(options, Config, "quickstart", packaged=quickstart, measured=tuned.layer)
        return tune(settled) if options.tune else check(settled, options)
    except ConfigError as error:
        return _conclude_wrong([str(error)])


def _words(options: argparse.Namespace) -> list[str]:
    return ["--config", str(options.config), *options.overrides, "--dry-run"]


def tune(settled: Settled[Config]) -> int:
    """Measure what suits this machine and record it; return the exit code."""
    from grpo.doctor import tuning

    config, report = settled.config, Report()
    if not machine(report):
        return 1
    facts = model(report, config)
    if report.wrong_input:
        return _conclude_wrong(report.wrong_input)
    values = tuning.tune(report, config, facts)
    if not values:
        return 1
    path = tuned.write(config, values)
    keys = ", ".join(f"{key} {value}" for key, value in values.items())
    print(f"\nwritten to {path}: runs of {config.model} on this machine begin with {keys}")
    return 0


def check(settled: Settled[Config], options: argparse.Namespace) -> int:
    """Look at everything a run of these settings needs; return the exit code."""
    config, report = settled.config, Report()
    if not machine(report):
        return 1
    named = options.config or (QUICKSTART_SOURCE if QUICKSTART_SOURCE in settled.origins.values() else "the defaults")
    say("\n".join([f"\n{named}:", *settled.lines()]))
    facts = model(report, config)
    tasks = data(report, config)
    prompt(report, config, tasks)
    rewards(report, config, tasks)
    memory(report, config, facts, tasks)
    disk(report, config, facts)
    work(report, config, tasks)
    if report.wrong_input:
        return _conclude_wrong(report.wrong_input)
    given = f" --config {options.config}" if options.config else ""
    say(
        f"\nit can't run as it is: {report.cannot_run[0]}"
        if report.cannot_run
        else f"\nready: {' '.join([f'python -m grpo.train{given}', *options.overrides])}"
    )
    return 1 if report.cannot_run else 0


def _conclude_wrong(reasons: Sequence[str]) -> int:
    more = f" (and {len(reasons) - 1} more above)" if len(reasons) > 1 else ""
    say(f"error: {' '.join(reasons[0].split())}{more}", sys.stderr)
    return 2


if __name__ == "__main__":
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # look, don't download
        os.environ.setdefault(variable, "1")
    sys.exit(main())
