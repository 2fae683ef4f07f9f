"""stages.md and stages.json: the stages side by side, what each changed, and distillation against RL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from distill.pipeline.config import CORPORA, Goal, PipelineConfig, Stage, active, columns
from distill.pipeline.evaluation import LENGTH, Figure, Measured, difference
from distill.pipeline.sections import Comparison

Figures = Mapping[str, Mapping[str, Any]]  # stage -> what it recorded
ADVERBS = {"rise": "rises", "fall": "falls", "hold": "holds"}


def short(name: str) -> str:
    """A reward's name as a heading: `helpful` of `distill.pipeline.rewards:helpful`."""
    return name.rpartition(":")[2]


def stages_table(pipeline: PipelineConfig, figures: Figures, measured: Mapping[str, Measured]) -> str:
    """A row a stage; a stage that gives a corpus says how large it is."""
    names = [*columns(pipeline), LENGTH]
    lines = _head(["stage", "kind", "starts from", *map(short, names)])
    for name, stage in active(pipeline).items():
        if stage.kind == "evaluate":
            continue
        head = [f"{name} (control)" if stage.control else name, stage.kind, stage.start or ""]
        if stage.kind in CORPORA:
            lines.append(_row([*head, _corpus(figures[name]), *[""] * (len(names) - 1)]))
        else:
            lines.append(_row([*head, *[shown(measured[name].figure(column), column) for column in names]]))
    notes = [f"- {name}: {stage.note}" for name, stage in active(pipeline).items() if stage.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def steps_table(pipeline: PipelineConfig, measured: Mapping[str, Measured]) -> str | None:
    """What each stage changed, task by task, against the stage before it, and whether its goals are met."""
    names = columns(pipeline)
    lines = _head(["stage", "against", *map(short, names)])
    found = len(lines)
    for name, stage in active(pipeline).items():
        before = compared_with(stage)
        if before is not None and name in measured and before in measured:
            cells = [_change(measured[name], measured[before], column, stage.goals.get(column)) for column in names]
            lines.append(_row([name, before, *cells]))
    return "\n".join(lines) + "\n" if len(lines) > found else None


def compared_with(stage: Stage) -> str | None:
    """The stage whose figures a stage's are to be set against."""
    return stage.against or (stage.start if stage.kind != "model" else None)


def met(goal: Goal, apart: Figure | None) -> bool:
    """Return whether a stage has done what it is for, by the 95% interval of the paired difference."""
    if apart is None:
        return False
    return {"rise": apart.low > 0, "fall": apart.high < 0, "hold": apart.high >= 0}[goal]


def _change(after: Measured, before: Measured, column: str, goal: Goal | None) -> str:
    apart = difference(after, before, column)
    text = _signed(apart, column)
    if goal is None:
        return text
    return f"{text} **{ADVERBS[goal]}**" if met(goal, apart) else f"{text} (goal: {goal}, not met)"


def comparison_table(
    pipeline: PipelineConfig, comparison: Comparison, figures: Figures, measured: Mapping[str, Measured]
) -> str:
    """Distillation and RL on the same student, with the tokens that were sampled for each, and the controls."""
    names = [*columns(pipeline), LENGTH]
    start, distilled, trained = comparison.start, comparison.distilled, comparison.trained
    controls = [name for name in comparison.controls if name in measured]
    lines = _head(["student", "sampled tokens", *map(short, names)])
    sampled = {
        start: "",
        distilled: f"{figures[comparison.corpus]['sampled_tokens']:,} (by its teacher)",
        trained: f"{figures[trained]['sampled_tokens']:,} (by the student)",
    }
    sampled |= {name: _sampled(pipeline, figures, name) for name in controls}
    for name, tokens in sampled.items():
        lines.append(_row([name, tokens, *[shown(measured[name].figure(column), column) for column in names]]))
    for other in (trained, *controls):
        apart = [difference(measured[distilled], measured[other], column) for column in names]
        lines.append(_row([f"{distilled} - {other}", "", *map(_signed, apart, names)]))
    first = difference(measured[distilled], measured[trained], names[0])
    return "\n".join(lines) + "\n\n" + _verdict(first, names[0]) + "\n"


def _sampled(pipeline: PipelineConfig, figures: Figures, name: str) -> str:
    """The tokens that were sampled for a control, by the stage or for its corpus."""
    sources = [name, *pipeline.stages[name].take.values()]
    tokens = sum(figures[source].get("sampled_tokens", 0) for source in sources)
    return f"{tokens:,} (control)"


def _verdict(apart: Figure | None, name: str) -> str:
    if apart is None:
        return f"No problem has a value of {name} on both sides."
    if apart.low > 0:
        return f"Distillation beats RL in {name}: the interval of the difference is above 0."
    if apart.high < 0:
        return f"RL beats distillation in {name}: the interval of the difference is below 0."
    return f"No difference in {name} that this many problems can show: the interval holds 0."


def page(pipeline: PipelineConfig, evaluate: str, stages: str, steps: str | None, comparison: str | None) -> str:
    """stages.md. Nothing of it depends on how long anything took: a pipeline that was killed gives the same page."""
    held_out = pipeline.held_out
    how = f"temperature {held_out.temperature:g}" + (f", top-p {held_out.top_p:g}" if held_out.top_p < 1 else "")
    also = "".join(
        f" {', '.join(map(short, one.rewards))}: on {one.data}, {one.split}." for one in pipeline.also_held_out
    )
    lines = [
        f"# {pipeline.title}",
        "",
        f"{evaluate}: every stage on the same held-out problems ({held_out.data}, {held_out.split}, at most "
        f"{held_out.tasks}), {held_out.samples} completion(s) each, {how}; seed {pipeline.seed}.{also} In brackets 95% "
        "intervals over problems; length in tokens.",
        "",
        stages,
    ]
    if steps is not None:
        rule = "a rise or fall counts where the interval of the paired difference lies on that side of 0"
        lines += ["## What each stage changed", "", f"Goals are in bold where they are met: {rule}.", "", steps]
    if comparison is not None:
        lines += ["## Distillation against RL on the same student", "", comparison]
    return "\n".join(lines).rstrip() + "\n"


def figures_of(
    pipeline: PipelineConfig, figures: Figures, measured: Mapping[str, Measured]
) -> dict[str, dict[str, Any]]:
    """The same as numbers, for stages.json."""
    names = [*columns(pipeline), LENGTH]
    found: dict[str, dict[str, Any]] = {}
    for name, recorded in figures.items():
        stage = pipeline.stages[name]
        found[name] = {"kind": stage.kind, **recorded}
        if name not in measured:
            continue
        pairs = [(column, measured[name].figure(column)) for column in names]
        found[name] |= {column: None if figure is None else asdict(figure) for column, figure in pairs}
        if stage.goals:
            before = measured[str(compared_with(stage))]
            apart = {column: difference(measured[name], before, column) for column in stage.goals}
            found[name]["goals"] = {column: met(goal, apart[column]) for column, goal in stage.goals.items()}
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


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]
