"""stages.md and stages.json: the stages side by side, and distillation against RL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from distill.pipeline.config import CORPORA, Comparison, HeldOut, PipelineConfig
from distill.pipeline.evaluation import LENGTH, Figure, Measured, difference

Figures = Mapping[str, Mapping[str, Any]]  # stage -> what it recorded


def stages_table(pipeline: PipelineConfig, figures: Figures, measured: Mapping[str, Measured]) -> str:
    """A row a stage; a stage that gives a corpus says how large it is."""
    names = [*pipeline.held_out.rewards, LENGTH]
    lines = [_row(["stage", "kind", "starts from", *names]), _row(["---"] * (len(names) + 3))]
    for name, stage in pipeline.stages.items():
        if stage.kind == "evaluate":
            continue
        head = [name, stage.kind, stage.start or ""]
        if stage.kind in CORPORA:
            lines.append(_row([*head, _corpus(figures[name]), *[""] * (len(names) - 1)]))
        else:
            lines.append(_row([*head, *[shown(measured[name].figure(column), column) for column in names]]))
    notes = [f"- {name}: {stage.note}" for name, stage in pipeline.stages.items() if stage.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def comparison_table(
    comparison: Comparison, held_out: HeldOut, figures: Figures, measured: Mapping[str, Measured]
) -> str:
    """Distillation and RL on the same student, with the tokens that were sampled for each."""
    names = [*held_out.rewards, LENGTH]
    start, distilled, trained = comparison.start, comparison.distilled, comparison.trained
    lines = [_row(["student", "sampled tokens", *names]), _row(["---"] * (len(names) + 2))]
    sampled = {
        start: "",
        distilled: f"{figures[comparison.corpus]['sampled_tokens']:,} (by its teacher)",
        trained: f"{figures[trained]['sampled_tokens']:,} (by the student)",
    }
    for name, tokens in sampled.items():
        lines.append(_row([name, tokens, *[shown(measured[name].figure(column), column) for column in names]]))
    apart = [difference(measured[distilled], measured[trained], column) for column in names]
    lines.append(_row([f"{distilled} - {trained}", "", *map(_signed, apart, names)]))
    return "\n".join(lines) + "\n\n" + _verdict(comparison, apart[0], names[0]) + "\n"


def _verdict(comparison: Comparison, apart: Figure | None, name: str) -> str:
    if apart is None:
        return f"No problem has a value of {name} on both sides."
    if apart.low > 0:
        return f"Distillation beats RL in {name}: the interval of the difference is above 0."
    if apart.high < 0:
        return f"RL beats distillation in {name}: the interval of the difference is below 0."
    return f"No difference in {name} that this many problems can show: the interval holds 0."


def page(pipeline: PipelineConfig, evaluate: str, tables: Sequence[str]) -> str:
    """stages.md. Nothing of it depends on how long anything took: a pipeline that was killed gives the same page."""
    held_out = pipeline.held_out
    how = f"temperature {held_out.temperature:g}" + (f", top-p {held_out.top_p:g}" if held_out.top_p < 1 else "")
    lines = [
        f"# {pipeline.title}",
        "",
        f"{evaluate}: every stage on the same held-out problems ({held_out.data}, {held_out.split}, at most "
        f"{held_out.tasks}), {held_out.samples} completion(s) each, {how}; seed {pipeline.seed}. In brackets 95% "
        "intervals over problems; length in tokens.",
        "",
        tables[0],
    ]
    if len(tables) > 1:
        lines += ["## Distillation against RL on the same student", "", *tables[1:]]
    return "\n".join(lines).rstrip() + "\n"


def figures_of(
    pipeline: PipelineConfig, figures: Figures, measured: Mapping[str, Measured]
) -> dict[str, dict[str, Any]]:
    """The same as numbers, for stages.json."""
    names = [*pipeline.held_out.rewards, LENGTH]
    found: dict[str, dict[str, Any]] = {}
    for name, recorded in figures.items():
        found[name] = {"kind": pipeline.stages[name].kind, **recorded}
        if name in measured:
            pairs = [(column, measured[name].figure(column)) for column in names]
            found[name] |= {column: None if figure is None else asdict(figure) for column, figure in pairs}
    return found


def shown(figure: Figure | None, column: str) -> str:
    """`0.912 [0.88, 0.94]`; a length with one decimal."""
    if figure is None:
        return "none"
    if column == LENGTH:
        return f"{figure.mean:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
    return f"{figure.mean:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _signed(figure: Figure | None, column: str) -> str:
    if figure is None:
        return "none"
    digits = 1 if column == LENGTH else 3
    return f"{figure.mean:+.{digits}f} [{figure.low:+.{digits}f}, {figure.high:+.{digits}f}]"


def _corpus(figures: Mapping[str, Any]) -> str:
    if "sampled" not in figures:
        return f"{figures['rows']:,} rows"
    mixed = f" + {figures['mixed_in']:,} without reasoning" if figures["mixed_in"] else ""
    return f"corpus: {figures['kept']:,} kept of {figures['sampled']:,} completions{mixed}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
