"""What a run gave in figures, and in what several runs differ."""

from collections.abc import Iterator, Sequence
from typing import Any

from grpo.report.panels import reward_names, short_name
from grpo.report.reading import Run, number

NONE = "–"
Line = tuple[str, list[str]]  # label, one cell a column


def facts(run: Run) -> list[tuple[str, str]]:
    """(label, value): how long, how much, on what."""
    summary, config = run.summary, run.config
    seconds = number(summary.get("seconds"))
    spent = sum(values.get("step_time", 0.0) for values in run.metrics.values())
    tokens = number(run.metrics[run.last_step].get("num_tokens"))
    planned = number(run.settings.get("steps"))
    of = f" of {planned:.0f}" if planned is not None and planned != run.last_step else ""
    seed = summary.get("seed", run.settings.get("seed", NONE))
    rows = [
        ("steps", f"{run.last_step}{of}"),
        ("time", duration(spent) + " in steps" if seconds is None else duration(seconds)),
        ("tokens sampled", NONE if tokens is None else f"{tokens:,.0f}"),
        ("seed", str(seed)),
        ("control", control(run)),
    ]
    if config is not None:
        loss = config.loss_type if config.algorithm is None else f"{config.loss_type} ({config.algorithm})"
        rows += [("model", config.model), ("data", config.data_name), ("loss", loss)]
    else:
        rows += [(key, str(run.settings[key])) for key in ("model", "data") if run.settings.get(key)]
    return rows


def control(run: Run) -> str:
    """`none`, or that the run was trained on something else than its rewards."""
    name = str(run.summary.get("control", run.config.control if run.config is not None else NONE))
    return "random_reward: trained on coin flips" if name == "random_reward" else name


def before_and_after(run: Run) -> list[Line]:
    """Held-out figures before, after and their change; greedy ones below."""
    sides = [run.figures("before"), run.figures("after")]
    lines = _lines(run, sides, "")
    greedy = [side.get("greedy") for side in sides]
    if all(isinstance(side, dict) for side in greedy):
        lines += _lines(run, [side for side in greedy if isinstance(side, dict)], ", greedy")
    return lines


def _lines(run: Run, sides: Sequence[dict[str, Any]], suffix: str) -> list[Line]:
    lines = []
    for name in [*reward_names([run]), "mean_length", "truncated"]:
        values = [number(side.get(name)) for side in sides]
        if any(value is not None for value in values):
            before, after = values
            change = NONE if before is None or after is None else f"{after - before:+.3f}"
            lines.append((short_name(name) + suffix, [*(_figure(side, name) for side in sides), change]))
    return lines


def _figure(side: dict[str, Any], name: str) -> str:
    """0.895, with its 95% interval where there is one."""
    value, low, high = (number(side.get(key)) for key in (name, f"{name}_low", f"{name}_high"))
    if value is None:
        return NONE
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def held_out_size(run: Run) -> str:
    """How many tasks and samples the figures rest on."""
    after = run.figures("after") or run.figures("before")
    tasks, samples = number(after.get("tasks")), number(after.get("samples"))
    return "" if tasks is None or samples is None else f"{tasks:.0f} held-out tasks, {samples:.0f} sample(s) each"


def comparison(runs: Sequence[Run]) -> list[Line]:
    """The runs side by side: facts, then `before → after` of each held-out figure, then the last training reward."""
    columns = [dict(facts(run)) for run in runs]
    lines: list[Line] = [
        (label, [column.get(label, NONE) for column in columns])
        for label in ("steps", "time", "tokens sampled", "seed", "control")
    ]
    figures = [{label: f"{cells[0]} → {cells[1]}" for label, cells in before_and_after(run)} for run in runs]
    for label in dict.fromkeys(label for figure in figures for label in figure):
        lines.append((label, [figure.get(label, NONE) for figure in figures]))
    rewards = [run.curve("reward") for run in runs]
    lines.append(("training reward, first → last 5 steps", [_ends(curve) for curve in rewards]))
    losses = [run.curve("loss") if run.supervised else [] for run in runs]
    if any(losses):
        lines.insert(-1, ("training loss, first → last 5 steps", [_ends(curve) for curve in losses]))
    return lines


def _ends(curve: Sequence[tuple[float, float]], steps: int = 5) -> str:
    if not curve:
        return NONE
    first, last = [value for _, value in curve[:steps]], [value for _, value in curve[-steps:]]
    return f"{sum(first) / len(first):.3f} → {sum(last) / len(last):.3f}"


def config_differences(runs: Sequence[Run]) -> list[Line]:
    """The config keys that are not the same in all runs; where a run writes is no difference."""
    trees = [run.settings if run.config is None else run.config.model_dump(mode="json") for run in runs]
    configs = [dict(_flat(tree)) for tree in trees]
    keys = dict.fromkeys(key for config in configs for key in config if key != "output")
    lines = [(key, [config.get(key, NONE) for config in configs]) for key in keys]
    return [(key, cells) for key, cells in lines if len(set(cells)) > 1]


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)


def duration(seconds: float) -> str:
    """46 s, 10 min 36 s, 3 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
