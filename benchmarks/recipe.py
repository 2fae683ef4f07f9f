"""Run several seeds of a pipeline; write a record, a table with intervals over seeds, and a picture.

    python -m benchmarks.recipe --config distill/recipes/quickstart.yaml --seeds 11 12 13 --output runs/recipe
    [key=value ...]

Each seed is a run of `python -m distill.pipeline`, which goes on where it was stopped; a seed has its own base or
student, held-out problems and samples. Intervals are Student's over seeds, 95%: the first of the mean, the other of
what one more seed is to be expected to give.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from distill.pipeline.config import CONFIG, PipelineConfig, active, columns, settings_of
from distill.pipeline.evaluation import FILE, LENGTH, Figure, Measured, difference
from distill.pipeline.tables import compared_with, met, short
from grpo.config.layers import build
from grpo.config.parsing import read_yaml

T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}  # of n seeds, n - 1 degrees of freedom


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every seed that is not finished, then write record, table and picture."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML file of distill.pipeline")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one pipeline each")
    parser.add_argument("--control-seeds", type=int, nargs="*", default=[], help="which of them also run the controls")
    parser.add_argument("--output", type=Path, required=True, help="pipelines, record.json, table.md and stages.png")
    parser.add_argument("--page", type=Path, help="page whose section of the config's name is rewritten")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config keys for every seed")
    options = parser.parse_intermixed_args(arguments)
    folders = {seed: options.output / f"seed_{seed}" for seed in options.seeds}
    for seed, folder in folders.items():
        code = _run(options, folder, seed)
        if code != 0:
            print(f"seed {seed} ended with code {code}, see {folder}.log", file=sys.stderr)
            return code
    from benchmarks.speed.machine import describe

    record = {
        "benchmark": "recipe",
        "config": options.config.name,
        "seeds": {str(seed): read(folder) for seed, folder in folders.items()},
        "overrides": [without_place(given) for given in options.overrides],
        "control_seeds": options.control_seeds,
        "commit": commit(),
        "machine": describe(),
    }
    write(record, options)
    return 0


def _run(options: argparse.Namespace, folder: Path, seed: int) -> int:
    command = [sys.executable, "-m", "distill.pipeline", "--config", str(options.config), "--output", str(folder)]
    print(f"running {folder.name}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("a") as log:
        controls = str(seed in options.control_seeds).lower()
        given = [*options.overrides, f"seed={seed}", f"controls={controls}"]
        return subprocess.run([*command, *given], stdout=log, stderr=subprocess.STDOUT).returncode


def commit() -> str | None:
    """The short hash of the checkout that this runs in; None without one."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or None


def without_place(given: str) -> str:
    """An override without the place of a file: `stages.base.start=DIR`."""
    key, _, value = given.partition("=")
    return f"{key}=DIR" if value.startswith(("/", "~", ".")) else given


def read(folder: Path) -> dict[str, Any]:
    """What a finished pipeline recorded: each stage's cost and held-out figures, and what it changed."""
    config = build(PipelineConfig, read_yaml(folder / CONFIG), source=str(folder / CONFIG))
    stages: dict[str, Any] = {}
    measured: dict[str, Measured] = {}
    for name, stage in active(config).items():
        if stage.kind == "evaluate":
            continue
        recorded = json.loads((folder / name / "stage.json").read_text())["figures"]
        recorded.pop("model", None)  # where it lies on this machine
        stages[name] = {"kind": stage.kind, "control": stage.control, **recorded}
        if (folder / name / FILE).exists():
            measured[name] = Measured(**json.loads((folder / name / FILE).read_text()))
            stages[name]["held_out"] = _figures(measured[name], [*columns(config), LENGTH])
        before = compared_with(stage)
        if name in measured and before in measured:
            apart = {column: difference(measured[name], measured[before], column) for column in columns(config)}
            stages[name]["against"] = before
            stages[name]["change"] = {column: _numbers(one) for column, one in apart.items()}
            stages[name]["goals"] = {
                column: {"goal": goal, "met": met(goal, apart[column])} for column, goal in stage.goals.items()
            }
    return {"stages": stages, "comparison": _comparison(config, stages, measured)}


def _figures(measured: Measured, names: Sequence[str]) -> dict[str, Any]:
    return {name: _numbers(measured.figure(name)) for name in names}


def _numbers(figure: Figure | None) -> dict[str, float] | None:
    return None if figure is None else {"mean": figure.mean, "low": figure.low, "high": figure.high}


def _comparison(
    config: PipelineConfig, stages: Mapping[str, Any], measured: Mapping[str, Measured]
) -> dict[str, Any] | None:
    """Distillation less each other way to make the student, and the tokens that were sampled for each."""
    evaluate = next((name for name, stage in config.stages.items() if stage.kind == "evaluate"), None)
    comparison = None if evaluate is None else settings_of(config, evaluate, {}).comparison
    if comparison is None:
        return None
    others = [comparison.trained, *(name for name in comparison.controls if name in measured)]
    first = columns(config)[0]
    tokens = {comparison.distilled: stages[comparison.corpus]["sampled_tokens"]}
    for name in others:
        sources = [name, *config.stages[name].take.values()]
        tokens[name] = sum(stages[source].get("sampled_tokens", 0) for source in sources)
    apart = {name: _numbers(difference(measured[comparison.distilled], measured[name], first)) for name in others}
    return {"reward": first, "distilled": comparison.distilled, "sampled_tokens": tokens, "difference": apart}


def over_seeds(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Mean, half-width of its 95% interval, and of the interval of one more seed; None for fewer than two seeds.

    The half-widths are t s / sqrt(n) and t s sqrt(1 + 1 / n): Student's t with n - 1 degrees of freedom, s the standard
    deviation of the n values.
    """
    if len(values) < 2:
        return None
    n, spread = len(values), T95.get(len(values), 2.3) * stdev(values)
    return mean(values), spread / n**0.5, spread * (1 + 1 / n) ** 0.5


def write(record: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Write record.json, table.md, stages.png, and the section of a page."""
    from benchmarks.speed.process import write_section

    (options.output / "record.json").write_text(json.dumps(record, indent=1))
    (options.output / "table.md").write_text(table(record))
    draw(record, options.output / "stages.png")
    if options.page is not None:
        name = f"recipe {Path(record['config']).stem}"
        write_section(options.page, name, table(record))
    print(table(record))


def table(record: Mapping[str, Any]) -> str:
    """Markdown, from the record alone: stages, what each changed, distillation against the other ways."""
    seeds = record["seeds"]
    stages = by_stage(record)
    rewards = [reward for reward in next(iter(stages.values()))[0]["held_out"] if reward != LENGTH]
    given = " ".join(["", *record["overrides"]])
    if record["control_seeds"]:
        given = f" --control-seeds {' '.join(map(str, record['control_seeds']))}{given}"
    machine = record["machine"]
    how = (
        f"Means over {len(seeds)} seeds, each with its own held-out problems; in brackets 95% of the mean over seeds, "
        "then what one more seed is to be expected to give."
        if len(seeds) > 1
        else "One seed; in brackets 95% over held-out problems."
    )
    lines = [
        f"`python -m benchmarks.recipe --config {record['config']} --seeds {' '.join(seeds)} --output DIR{given}`; "
        f"commit {record['commit']}; {machine['processor']}, {machine['cores']} cores, {machine['date']}. {how}",
        "",
        _row(["stage", *map(short, rewards), "tokens sampled"]),
        _row(["---", *["---"] * len(rewards), "---:"]),
    ]
    for name, found in stages.items():
        values = [[one["held_out"][reward] for one in found] for reward in rewards]
        tokens = [one.get("sampled_tokens") for one in found]
        cost = f"{mean(tokens):,.0f}" if all(tokens) else ""
        of = "" if len(found) == len(seeds) else f", {len(found)} of the seeds"
        lines.append(_row([f"{name} (control{of})" if found[0]["control"] else name, *map(_cell, values), cost]))
    lines += ["", *_changes(stages)]
    compared = _compared(seeds)
    return "\n".join([*lines, *(["", *compared] if compared else [])]) + "\n"


def _cell(found: Sequence[Mapping[str, float] | None]) -> str:
    """A mean with its interval over seeds and that of one more; of one seed alone its interval over problems."""
    present = [one for one in found if one is not None]
    over = over_seeds([one["mean"] for one in present])
    if over is None:
        return "none" if not present else f"{present[0]['mean']:.3f} {_share(present[0]['low'], present[0]['high'])}"
    middle, half, another = over
    inside = _share(middle - half, middle + half)
    return f"{middle:.3f} {inside}, {_clip(middle - another)} to {_clip(middle + another)}"


def _share(low: float, high: float) -> str:
    return f"[{_clip(low)}, {_clip(high)}]"


def _clip(value: float) -> str:
    return f"{min(1.0, max(0.0, value)):.2f}"


def by_stage(record: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Every stage that gave a model, as each seed that ran it recorded it."""
    found: dict[str, list[Any]] = {}
    for seed in record["seeds"].values():
        for name, stage in seed["stages"].items():
            if "held_out" in stage:
                found.setdefault(name, []).append(stage)
    return found


def _changes(found: Mapping[str, list[Any]]) -> list[str]:
    """The goals: the change of each, and in how many seeds its interval over tasks met the goal."""
    lines = [_row(["stage", "against", "goal", "change", "met"]), _row(["---"] * 5)]
    for name, stages in found.items():
        for reward, goal in stages[0].get("goals", {}).items():
            changes = [stage["change"][reward] for stage in stages]
            count = sum(stage["goals"][reward]["met"] for stage in stages)
            cells = [name, stages[0]["against"], f"{short(reward)}: {goal['goal']}", _signed(changes)]
            lines.append(_row([*cells, f"{count} of {len(stages)}"]))
    return lines if len(lines) > 2 else []


def _compared(seeds: Mapping[str, Any]) -> list[str]:
    found = [one["comparison"] for one in seeds.values()]
    if found[0] is None:
        return []
    lines = [
        _row([f"{found[0]['distilled']} less", "tokens sampled", found[0]["reward"]]),
        _row(["---", "---:", "---"]),
    ]
    for name in dict.fromkeys(name for one in found for name in one["difference"]):
        ran = [one for one in found if name in one["difference"]]
        tokens = mean(one["sampled_tokens"][name] for one in ran)
        changes = [one["difference"][name] for one in ran]
        lines.append(_row([name, f"{tokens:,.0f}", _signed(changes)]))
    spent = mean(one["sampled_tokens"][found[0]["distilled"]] for one in found)
    return [*lines, "", f"{found[0]['distilled']}'s corpus took {spent:,.0f} sampled tokens."]


def _signed(found: Sequence[Mapping[str, float] | None]) -> str:
    """The same of a difference."""
    present = [one for one in found if one is not None]
    over = over_seeds([one["mean"] for one in present])
    if over is None:
        return "none" if not present else "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**present[0])
    middle, half, another = over
    inside = f"[{middle - half:+.3f}, {middle + half:+.3f}]"
    return f"{middle:+.3f} {inside}, {middle - another:+.3f} to {middle + another:+.3f}"


def draw(record: Mapping[str, Any], path: Path) -> None:
    """A panel a reward: every stage's seeds as points, their mean as a bar, controls in grey."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    stages = by_stage(record)
    rewards = [reward for reward in next(iter(stages.values()))[0]["held_out"] if reward != LENGTH]
    figure, panels = pyplot.subplots(1, len(rewards), sharey=True, squeeze=False, dpi=150,
                                     figsize=(1.6 + 1.9 * len(rewards), 0.8 + 0.27 * len(stages)))  # fmt: skip
    for reward, axes in zip(rewards, panels[0], strict=True):
        for place, found in enumerate(stages.values()):
            values = [one["held_out"][reward]["mean"] for one in found if one["held_out"][reward] is not None]
            colour = "0.6" if found[0]["control"] else "C0"
            if values:
                axes.barh(place, mean(values), color=colour, alpha=0.3, height=0.6)
                axes.plot(values, [place] * len(values), "o", color=colour, markersize=3)
        axes.set(title=short(reward), yticks=range(len(stages)), yticklabels=list(stages), xlim=(0, 1))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
