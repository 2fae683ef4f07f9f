"""The page: everything of it through templates that escape, for a completion may hold HTML."""

from collections.abc import Sequence
from pathlib import Path

import jinja2

from grpo.report import curves, tables
from grpo.report.panels import panels, short_name
from grpo.report.reading import Run
from grpo.report.rollouts import groups


def render(runs: Sequence[Run]) -> str:
    """The HTML of these runs: no script, nothing fetched, and a policy in its head that forbids both."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "short_name": short_name}
    return environment.get_template("page.html.j2").render(
        runs=runs,
        title="GRPO: " + ", ".join(run.label for run in runs),
        panels=panels(runs),
        smoothed=any(len(run.metrics) >= curves.SMOOTHED_FROM for run in runs),
        rollouts=[groups(run) for run in runs],
        curves=curves,
        tables=tables,
    )


def _figure(value: float | None, form: str) -> str:
    return tables.NONE if value is None else format(value, form)
