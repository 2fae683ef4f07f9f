"""`python -m grpo.train`: GRPO from a config to a trained adapter.

Without arguments: the embedded model, nothing downloaded.
"""

import argparse
import contextlib
import functools
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.config import Config
from grpo.config.layers import Layer
from grpo.config.parsing import read_yaml
from grpo.config.sections import ConfigError
from grpo.ranks.settings import require_roles
from grpo.runs import tuned
from grpo.runs.command import Settled, configure, guarded, has_checkpoint, parse, refuse
from rewards.printable import say

QUICKSTART = Path(__file__).resolve().parent / "recipes" / "quickstart.yaml"
QUICKSTART_SOURCE = "the quickstart"  # as messages call it: nobody named that file
MINIATURE = "miniature"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving, 1 anything else."""
    options = parse("grpo.train", str(__doc__), Config, arguments, roles=True)
    try:
        settled = configure(options, Config, "quickstart", packaged=quickstart, measured=tuned.layer)
        require_roles(settled.config, options.samplers, options.learners, launched=not options.dry_run)
    except ConfigError as error:
        return refuse(error)

    if options.dry_run:
        from grpo.doctor.__main__ import check

        return check(settled, options)

    def work() -> None:
        _run(settled, options)

    output = settled.output
    roles = f" --samplers {options.samplers} --learners {options.learners}" if options.samplers else ""
    go_on = f"python -m grpo.train --output {output} --resume{roles}"
    told = [*(["--config", str(options.config)] if options.config is not None else []), *options.overrides]
    begin_again = " ".join([go_on, *map(shlex.quote, told)])  # the config may not be recorded yet
    saved = functools.partial(has_checkpoint, output)
    return guarded(work, go_on=go_on, begin_again=begin_again, saved=saved, over_ranks=True)


def quickstart(given: Mapping[str, Any]) -> Layer | None:
    """The recipe of the embedded model; its values are for no other one."""
    if given.get("model", MINIATURE) != MINIATURE:
        return None
    return Layer(QUICKSTART_SOURCE, read_yaml(QUICKSTART))


def _run(settled: Settled[Config], options: argparse.Namespace) -> None:
    from grpo.cpu.blas import load_blas
    from grpo.opening import open_run
    from grpo.ranks.roles import Sampler, dismiss
    from grpo.ranks.session import joined
    from grpo.ranks.settings import same_settings
    from grpo.runs import checkpoint
    from grpo.runs.directory import claim, finished
    from grpo.runs.interrupt import StopFlag

    blas, resume = load_blas(), options.resume
    told = {"command": "grpo.train", "samplers": options.samplers}
    with StopFlag() as stop, joined(stop, told) as ranks:
        settled = same_settings(settled, resume=resume)
        config, output = settled.config, settled.output
        ranks.share_model(config.tensor_parallel)
        ranks.samplers = options.samplers
        if resume and (steps := ranks.from_first(lambda: finished(config, output))):
            if ranks.writes:
                claim(config, output, resume=True, say=lambda _: None, origins=settled.origins)
                say(
                    f"{output} is finished: {steps} of {config.steps} steps. For more add steps={2 * steps}; to "
                    f"measure it: python -m grpo.evaluate {output}"
                )
            return
        warning = f"; warning: {blas.warning}" if blas.warning else ""
        several = f"; {ranks.size} processes" if ranks.size > 1 else ""
        several += f", {options.samplers} of them sample" if options.samplers else ""
        preface = [f"run directory {output}; matrix products by {blas.name}{warning}{several}", *settled.lines()]
        with checkpoint.lock(output) if ranks.writes else contextlib.nullcontext():
            given: dict[str, Any] = {
                "accept_changes": options.accept_changes,
                "origins": settled.origins,
                "preface": preface,
            }
            trainer = open_run(config, output, resume=resume, say=say, stop=stop, **given)
            with trainer.logger.log.failures():
                ranks.take_roles()
                if ranks.follows:
                    Sampler(trainer, stop).run()
                    return
                summary = trainer.train(stop)
                dismiss()
            if ranks.writes:
                checkpoint.write_text(output / "summary.json", json.dumps(summary, indent=1))
                _conclude(output, config, summary)


def _conclude(output: Path, config: Config, summary: dict[str, Any]) -> None:
    """The before/after table and where to look next."""
    from rich.table import Table

    from grpo.doctor.findings.judgement import lines_of
    from grpo.report.page import render
    from grpo.runs import checkpoint
    from grpo.runs.log import RunLog
    from grpo.runs.logger import Output

    checkpoint.write_text(output / "report.html", render([output]))
    console, log = Output(), RunLog(output)
    before, after = summary["before"], summary["after"]
    if before and after:
        tasks = f"held-out tasks ({after['tasks']})" if "tasks" in after else "benchmarks"
        table = Table(title=f"{tasks}, {summary['steps']} steps, {summary['seconds']:.0f} s")
        for column in ("", "before", "after"):
            table.add_column(column, justify="left" if not column else "right")
        for label, first, last in _rows(config, before, after):
            table.add_row(label, f"{first:.3f}", f"{last:.3f}")
            log.write(f"{label}: {first:.3f} before, {last:.3f} after")
        console.print(table)
    show = log.heard(functools.partial(console.print, soft_wrap=True, highlight=False, markup=False))
    for line in lines_of(summary["verdict"], output):
        show(line)
    show(f"curves, rollouts, warnings: {output}/report.html   (TensorBoard reads {output} too)")
    show(f"every completion: {output}/completions/   the adapter: {output}/adapters.safetensors")


def _rows(config: Config, before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, float, float]]:
    benchmarks = [name for name in before if name.endswith("/pass@1")]
    shown = [*config.reward_weights, *benchmarks, "mean_length", "truncated"]
    names = [name for name in shown if name in before and name in after]
    rows = [(name, before[name], after[name]) for name in names]
    if "greedy" in after and "greedy" in before:
        rows += [
            (f"{name}, greedy", before["greedy"][name], after["greedy"][name])
            for name in names
            if name in config.reward_weights and name in before["greedy"] and name in after["greedy"]
        ]
    return rows


if __name__ == "__main__":
    sys.exit(main())
