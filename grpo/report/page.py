"""Write the page: everything on it goes through templates that escape, for a completion may hold HTML."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from grpo.report import assets, curves, tables
from grpo.report.index import Index
from grpo.report.judgement import Judgement, judge
from grpo.report.panels import panels, short_name
from grpo.report.reading import Row
from grpo.report.rollouts import chosen
from grpo.report.spreads import spreads
from grpo.report.stages import Reading, read
from grpo.report.story import derived, story
from grpo.report.table import KINDS, Table
from grpo.report.tasks import pass_rates

FORMULA_MARKS = ("$", "\\(", "\\[", "\\boxed")
MOST_DETAILED = 4  # runs whose tasks and spreads are shown


@dataclass(frozen=True)
class Sections:
    """What templates made of a content: the page around the browser of completions, and what that has to know."""

    title: str
    top: Markup
    bottom: Markup
    runs: list[str]  # their labels
    facets: dict[str, list[str]]
    completions: int
    groups: int


@dataclass(frozen=True)
class Content:
    """What a page shows: runs, their completions as far as they have been read, and what is thought of them."""

    reading: Reading
    table: Table
    judgements: list[Judgement]  # of the runs, in their order


def render(paths: Sequence[Path]) -> str:
    """The report of run or pipeline directories as one HTML page that fetches nothing and opens anywhere.

    It holds a bounded choice of the completions. ReportError, one line, where there is nothing to report on.
    """
    reading = read(paths)
    index = Index(reading.runs)
    index.refresh()
    content = content_of(reading, index.table)
    rows = chosen(index.table, lambda rows: len(htmlsafe_json_dumps(list(rows))))
    return whole_page(sections_of(content), rows=rows, command=" ".join(["grpo watch", *map(str, paths)]))


def content_of(reading: Reading, table: Table, judged: Callable[[Path], Judgement] = judge) -> Content:
    """Put together what a page shows; the curves that come from texts are added to the runs."""
    runs = [replace(run, derived=derived(table, place)) for place, run in enumerate(reading.runs)]
    return Content(replace(reading, runs=runs), table, [judged(run.path) for run in runs])


def sections_of(content: Content) -> Sections:
    """Write the parts of the page that change while a run goes on."""
    variables = _variables(content)
    return Sections(
        title=variables["title"],
        top=Markup(_template("top.html.j2").render(**variables)),
        bottom=Markup(_template("bottom.html.j2").render(**variables)),
        runs=[run.label for run in content.reading.runs],
        facets=facets(content.table),
        completions=len(content.table),
        groups=content.table.group_count,
    )


def whole_page(sections: Sections, *, rows: Sequence[Row] | None, command: str = "", version: int = 0) -> str:
    """The page; with `rows` one that stands alone, with None one that asks the server it came from.

    `version` is the server's number of the sections; `command` shows all completions where `rows` are not all.
    """
    live = rows is None
    data: dict[str, Any] = {"live": live, "version": version, "runs": sections.runs, "facets": sections.facets}
    text = htmlsafe_json_dumps(data | {"rows": rows}, dumps=_dumps)
    formulas = live or any(mark in json.dumps(rows, ensure_ascii=False) for mark in FORMULA_MARKS)
    return _template("page.html.j2").render(
        sections=sections,
        live=live,
        shown=len(rows or ()),
        command=command,
        data=text,
        assets=assets,
        formulas=formulas,
        policy=assets.policy(live=live, formulas=formulas),
    )


def facets(table: Table) -> dict[str, list[str]]:
    """What there is to filter by."""
    return {
        "kinds": [kind for number, kind in enumerate(KINDS) if (table.kind == number).any()],
        "stops": sorted({str(stop) for stop in table.stops} - {""}),
        "parts": table.reward_names,
    }


def _variables(content: Content) -> dict[str, Any]:
    reading, table = content.reading, content.table
    runs = reading.runs
    detailed = range(min(len(runs), MOST_DETAILED))
    drawn = panels(runs)
    return {
        "runs": runs,
        "title": "GRPO: " + ", ".join([*(one.title for one in reading.pipelines)] or [run.label for run in runs]),
        "paths": reading.paths,
        "judgements": content.judgements,
        "stories": [(pipeline, story(pipeline, runs)) for pipeline in reading.pipelines],
        "panels": drawn,
        "banded": any(panel.drawing.bands for panel in drawn),
        "smoothed": any(len(run.metrics) >= curves.SMOOTHED_FROM for run in runs),
        "bad_lines": sum(part.bad for part in table.parts),
        "tasks": [(runs[place], pass_rates(table, place)) for place in detailed],
        "spreads": [(runs[place], spreads(table, place)) for place in detailed],
        "curves": curves,
        "tables": tables,
    }


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "short_name": short_name}
    return environment.get_template(name)


def _dumps(value: Any, **_: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _figure(value: float | None, form: str) -> str:
    return tables.NONE if value is None else format(value, form)
