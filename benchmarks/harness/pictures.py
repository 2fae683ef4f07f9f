"""Pictures of benchmark runs. Every point has its 95% interval; what others published is drawn apart, in grey."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class BudgetPoint:
    """A run under one thinking budget."""

    thinking_tokens: float  # mean of a sample
    accuracy: float
    low: float
    high: float
    votes: Mapping[int, float]  # k -> cons@k


def _canvas(panels: int) -> tuple[Any, list[Any]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, panels, figsize=(1 + 4.2 * panels, 3.6), dpi=150, squeeze=False)
    for one in axes[0]:
        one.grid(alpha=0.25)
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def draw_comparison(runs: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Left: pass@1 of each run with its interval, published pass@1 in grey. Right: pass@k and cons@k over k."""
    figure, (left, right) = _canvas(2)
    names = list(runs)
    for place, name in enumerate(names):
        found, colour = runs[name]["figures"], f"C{place}"
        left.plot([found["pass@1_low"], found["pass@1_high"]], [place, place], color=colour, linewidth=3, alpha=0.4)
        left.plot([found["pass@1"]], [place], "o", color=colour)
        for kind, line in (("pass", "-"), ("cons", "--")):
            points = _over_k(found, kind)
            right.plot(*zip(*points, strict=True), line, color=colour, marker=".", label=f"{name}, {kind}@k")
    published = [one for one in next(iter(runs.values())).get("published", ()) if "pass@1" in one["figures"]]
    for place, one in enumerate(published[:8], start=len(names)):
        left.plot([one["figures"]["pass@1"]], [place], "|", color="0.5", markersize=12)
        names.append(f"{one['model']} (published)")
    left.set(yticks=range(len(names)), xlim=(0, 1), xlabel="pass@1, 95% interval", ylim=(len(names) - 0.5, -0.5))
    left.set_yticklabels(names, fontsize=7)
    right.set(xlabel="k", ylim=(0, 1), xscale="log")
    right.legend(frameon=False, fontsize=7)
    _save(figure, path)


def _over_k(found: Mapping[str, Any], kind: str) -> list[tuple[int, float]]:
    """(k, figure), k = 1 included: one sample's vote is its answer."""
    later = {name.partition("@")[2]: value for name, value in found.items() if name.startswith(f"{kind}@")}
    return sorted({1: found["pass@1"], **{int(k): value for k, value in later.items() if k.isdigit()}}.items())


def draw_budgets(points: Sequence[BudgetPoint], path: Path, *, title: str) -> None:
    """Accuracy over thinking tokens spent on a problem: longer thinking (line), and votes of k samples (dashed).

    A vote of k samples spends k times the thinking of one.
    """
    figure, (axes,) = _canvas(1)
    points = sorted(points, key=lambda point: point.thinking_tokens)
    spent = [max(point.thinking_tokens, 1) for point in points]
    accuracy = [point.accuracy for point in points]
    bars = [[p.accuracy - p.low for p in points], [p.high - p.accuracy for p in points]]
    axes.errorbar(spent, accuracy, yerr=bars, fmt="o-", capsize=2, color="C0", label="one sample, thinking this long")
    for place, (point, tokens) in enumerate(zip(points, spent, strict=True)):
        votes = sorted({1: point.accuracy, **point.votes}.items())
        if len(votes) > 1:
            label = "majority of k samples, each at one budget" if place == 0 else None
            axes.plot(
                [tokens * k for k, _ in votes],
                [v for _, v in votes],
                ".--",
                color=f"C{place + 1}",
                alpha=0.7,
                label=label,
            )
    axes.set(xlabel="thinking tokens spent on a problem", ylabel="accuracy", ylim=(0, 1), title=title)
    axes.set_xscale("log", base=2)  # budgets double
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)
