"""Choose the curves of a page and their order. A colour is a run's or a family's; on the page of one run, a part's."""

from collections.abc import Sequence
from dataclasses import dataclass

from grpo.report.curves import Drawing, Series, draw
from grpo.report.families import Family, families
from grpo.report.reading import Run

Parts = tuple[tuple[str, str], ...]  # (metric, what it is called in the legend)
NUMBERS = 12  # steps in the table of a panel's numbers


@dataclass(frozen=True)
class Spec:
    """What one panel draws."""

    title: str
    unit: str
    parts: Parts
    held_out: str | None = None  # figure drawn as dots: measured on held-out tasks, not on the training batch


@dataclass(frozen=True)
class Key:
    """A line of a panel's legend."""

    css: str
    text: str
    ends: str  # first -> last value


@dataclass(frozen=True)
class Panel:
    """One drawing with its legend, and the same numbers as a table."""

    title: str
    unit: str
    legend: list[Key]
    drawing: Drawing
    columns: list[str]
    numbers: list[tuple[str, list[str]]]  # step, a cell a column


BELOW_REWARDS = (
    Spec("loss", "mean a trained token", (("loss", ""),), "loss"),
    Spec("entropy", "nats a token", (("entropy", ""),)),
    Spec("KL to the start of the run", "nats a token", (("kl", ""),)),
    Spec("completion length", "tokens", (("completions/mean_length", ""),), "mean_length"),
    Spec("cut at max_completion_length", "share", (("completions/clipped_ratio", ""),), "truncated"),
    Spec("completions that re-check", "share with wait, let me check, ...", (("text/rechecks", ""),)),
    Spec("words in one script", "share of a completion's words", (("text/one_script", ""),)),
    Spec("groups with equal rewards", "share", (("frac_reward_zero_std", ""),)),
    Spec("gradient norm", "before clipping", (("grad_norm", ""),)),
    Spec("ratio clipped", "share of tokens", (("clip_ratio/region_mean", ""),)),
    Spec("sampler and policy differ", "nats a token, mean", (("sampling/sampling_logp_difference/mean", ""),)),
    Spec("learning rate", "", (("learning_rate", ""),)),
    Spec(
        "step time",
        "seconds",
        (
            ("time/rollout", "rollout"),
            ("time/learn", "learning"),
            ("time/rewards_after_rollout", "waiting for rewards"),
        ),
    ),
)
WITHHELD = {"gated": "withheld by its gate", "clipped": "outside of its bounds"}


def panels(runs: Sequence[Run]) -> list[Panel]:
    """The panels that have something to show."""
    rewards = [Spec(short_name(name), "mean", ((f"rewards/{name}/mean", ""),), name) for name in reward_names(runs)]
    specs = [Spec("reward", "weighted sum, mean", (("reward", ""),)), *rewards, *_withheld(runs), *BELOW_REWARDS]
    of = families(runs)
    return [panel for panel in (_panel(spec, of) for spec in specs) if panel is not None]


def reward_names(runs: Sequence[Run]) -> list[str]:
    """Every reward that was measured, in the order the runs name them."""
    names: dict[str, None] = {}
    for run in runs:
        for values in run.metrics.values():
            names |= {
                metric.removeprefix("rewards/").removesuffix("/mean"): None
                for metric in values
                if metric.startswith("rewards/") and metric.endswith("/mean")
            }
    return list(names)


def _withheld(runs: Sequence[Run]) -> list[Spec]:
    """What did not reach the sum: values that a gate withheld or bounds cut, and rewards that failed."""
    metrics = dict.fromkeys(metric for run in runs for values in run.metrics.values() for metric in values)
    specs = []
    for metric in metrics:
        name, _, what = metric.removeprefix("rewards/").rpartition("/")
        if metric.startswith("rewards/failed/"):
            reward = name.removeprefix("failed/")
            specs.append(Spec(f"{short_name(reward)}: {what}", "completions", ((metric, ""),)))
        elif metric.startswith("rewards/") and what in WITHHELD:
            specs.append(Spec(f"{short_name(name)} {WITHHELD[what]}", "share of completions", ((metric, ""),)))
    return specs


def short_name(reward: str) -> str:
    """`package.module:function` by its function."""
    return reward.rsplit(":", 1)[-1]


def _panel(spec: Spec, of: Sequence[Family]) -> Panel | None:
    several = len(of) > 1
    series: list[Series] = []
    legend: list[Key] = []
    for place, family in enumerate(of):
        found = [*_lines(spec, family, place, several=several), *_dots(spec, family, place, several=several)]
        series += found
        legend += [_key(one) for one in found]
    if not series:
        return None
    return Panel(spec.title, spec.unit, legend, draw(series), [one.label for one in series], _numbers(series))


def _lines(spec: Spec, family: Family, place: int, *, several: bool) -> list[Series]:
    lines = []
    for part, (metric, name) in enumerate(spec.parts):
        points, band = family.curve(metric)
        label = ", ".join(text for text in (family.label if several or band else "", name) if text) or "training"
        if points:
            lines.append(Series(label, points, place if several else part, part if several else 0, band=band))
    return lines


def _dots(spec: Spec, family: Family, place: int, *, several: bool) -> list[Series]:
    points, intervals = ([], []) if spec.held_out is None else family.held_out(spec.held_out)
    label = f"{family.label}, held out" if several else "held out"
    return [Series(label, points, place if several else 0, dots=True, intervals=intervals)] if points else []


def _key(one: Series) -> Key:
    first, last = one.points[0][1], one.points[-1][1]
    ends = f"{first:.4g}" if len(one.points) == 1 else f"{first:.4g} → {last:.4g}"
    css = f"dot s{one.colour % 8}" if one.dots else f"line s{one.colour % 8} d{one.dash % 4}"
    return Key(css, one.label, ends)


def _numbers(series: Sequence[Series]) -> list[tuple[str, list[str]]]:
    """The values at about NUMBERS steps, the first and the last among them."""
    steps = sorted({step for one in series for step, _ in one.points})
    count = min(NUMBERS, len(steps))
    places = sorted({round(i * (len(steps) - 1) / max(1, count - 1)) for i in range(count)})
    lookup = [dict(one.points) for one in series]
    return [
        (f"{steps[i]:.0f}", [f"{points[steps[i]]:.4g}" if steps[i] in points else "–" for points in lookup])
        for i in places
    ]
