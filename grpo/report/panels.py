"""Which curves a page shows, in which order. A colour is a run's; on the page of one run, a part's."""

from collections.abc import Sequence
from dataclasses import dataclass

from grpo.report.curves import Drawing, Series, draw
from grpo.report.reading import Run

Parts = tuple[tuple[str, str], ...]  # (metric, what it is called in the legend)


@dataclass(frozen=True)
class Spec:
    """What one panel draws."""

    title: str
    unit: str
    parts: Parts
    held_out: str | None = None  # figure drawn as dots: measured on held-out tasks, not on the training batch


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    legend: list[tuple[str, str]]  # (css classes, text); empty where the page's legend says it all
    drawing: Drawing


BELOW_REWARDS = (
    Spec("entropy", "nats a token", (("entropy", ""),)),
    Spec("KL to the start of the run", "nats a token", (("kl", ""),)),
    Spec("completion length", "tokens", (("completions/mean_length", ""),), "mean_length"),
    Spec("cut at max_completion_length", "share", (("completions/clipped_ratio", ""),), "truncated"),
    Spec("groups with equal rewards", "share", (("frac_reward_zero_std", ""),)),
    Spec("gradient norm", "before clipping", (("grad_norm", ""),)),
    Spec("ratio clipped", "share of tokens", (("clip_ratio/region_mean", ""),)),
    Spec("sampler and policy differ", "nats a token, mean", (("sampling/sampling_logp_difference/mean", ""),)),
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
    return [panel for panel in (_panel(spec, runs) for spec in specs) if panel is not None]


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


def _panel(spec: Spec, runs: Sequence[Run]) -> Panel | None:
    several = len(runs) > 1
    lines, dots = [], []
    for r, run in enumerate(runs):
        for p, (metric, part) in enumerate(spec.parts):
            label = ", ".join(text for text in (run.label if several else "", part) if text) or spec.title
            line = Series(label, run.curve(metric), r if several else p, p if several else 0)
            lines += [line] if line.points else []
        if spec.held_out is not None and (points := run.held_out(spec.held_out)):
            label = f"{run.label}, held out" if several else "held out"
            dots.append(Series(label, points, r if several else 0, dots=True, intervals=_intervals(run, spec.held_out)))
    if not lines and not dots:
        return None
    return Panel(spec.title, spec.unit, _legend(spec, several, bool(dots)), draw([*lines, *dots]))


def _legend(spec: Spec, several: bool, dots: bool) -> list[tuple[str, str]]:
    parts = [(f"line any d{p}" if several else f"line s{p} d0", part) for p, (_, part) in enumerate(spec.parts) if part]
    if dots:
        colour = "any" if several else "s0"
        parts += [(f"line {colour} d0", "training batch"), (f"dot {colour}", "held out")]
    return parts


def _intervals(run: Run, name: str) -> list[tuple[float, float, float]]:
    """The 95% intervals of a held-out figure that has them."""
    highs = dict(run.held_out(f"{name}_high"))
    return [(step, low, highs[step]) for step, low in run.held_out(f"{name}_low") if step in highs]
