"""`python -m grpo.train`: GRPO from a config to a trained adapter.

Without arguments: the embedded model, nothing downloaded.
"""

import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.cpu import allocator
from grpo.runs.command import configure, guarded, parse, refuse, say

QUICKSTART = Path(__file__).resolve().parent / "recipes" / "quickstart.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving, 1 anything else."""
    options = parse("grpo.train", str(__doc__), Config, arguments)
    try:
        config, output = configure(options, Config, "quickstart", packaged=QUICKSTART)
    except ConfigError as error:
        return refuse(error)

    def work() -> None:
        _run(config, output, resume=options.resume)

    return guarded(work, go_on=f"Go on with: python -m grpo.train --output {output} --resume")


def _run(config: Config, output: Path, *, resume: bool) -> None:
    from grpo.cpu.blas import load_blas
    from grpo.opening import open_run
    from grpo.runs import checkpoint
    from grpo.runs.interrupt import StopFlag

    blas = load_blas()
    with checkpoint.lock(output), StopFlag() as stop:
        warning = f"; warning: {blas.warning}" if blas.warning else ""
        say(f"run directory {output}; matrix products by {blas.name}{warning}")
        trainer = open_run(config, output, resume=resume, say=say, stop=stop)
        summary = trainer.train(stop)
        checkpoint.write_text(output / "summary.json", json.dumps(summary, indent=1))
        _conclude(output, config, summary)


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
    show = functools.partial(console.print, soft_wrap=True, highlight=False)
    show(f"curves, rollouts, warnings: {output}/report.html   tensorboard --logdir {output}")
    show(f"every completion: {output}/completions/   the adapter: {output}/adapters.safetensors")


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
