"""Numbers to SVG: a panel's series become paths, dots, ticks and hover strips. Positions only, no colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

WIDTH, HEIGHT = 340, 170  # user units of one panel
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 22  # margins around the plot
MOST_POINTS = 300  # of a line; more are averaged in runs of equal length
MOST_STRIPS = 80  # places with a tooltip
SMOOTHED_FROM = 30  # points; a line of as many is drawn thin, under the trailing mean of SMOOTHING steps
SMOOTHING = 5

Point = tuple[float, float]  # step, value


@dataclass(frozen=True)
class Series:
    """One line, or the dots of held-out figures with their intervals."""

    label: str
    points: Sequence[Point]
    colour: int = 0
    dash: int = 0
    dots: bool = False
    intervals: Sequence[tuple[float, float, float]] = ()  # step, low, high


@dataclass(frozen=True)
class Drawing:
    """A panel in user units, ready for the template."""

    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    x_ticks: list[tuple[float, str]] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)  # path, css classes
    bars: list[tuple[str, str]] = field(default_factory=list)
    dots: list[tuple[float, float, str]] = field(default_factory=list)
    strips: list[tuple[float, float, float, str]] = field(default_factory=list)  # left, width, centre, tooltip


@dataclass(frozen=True)
class Scale:
    """From steps and values to user units."""

    last: float  # step at the right edge
    low: float
    high: float

    def x(self, step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / self.last, 1)

    def y(self, value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low), 1)


def draw(series: Sequence[Series]) -> Drawing:
    """The panel of these series; some of them has a point."""
    values = [value for one in series for _, value in one.points]
    values += [edge for one in series for _, *edges in one.intervals for edge in edges]
    y_ticks = ticks(min(0.0, *values), max(0.0, *values))
    last = max(1.0, *(step for one in series for step, _ in one.points))
    scale = Scale(last, y_ticks[0], y_ticks[-1])
    drawing = Drawing(
        y_ticks=[(scale.y(tick), f"{tick:.6g}") for tick in y_ticks],
        x_ticks=[(scale.x(tick), f"{tick:.0f}") for tick in ticks(0, last) if tick <= last and tick == int(tick)],
        strips=_strips(series, scale),
    )
    for one in series:
        _add(drawing, one, scale)
    return drawing


def _add(drawing: Drawing, one: Series, scale: Scale) -> None:
    style = f"s{one.colour % 8} d{one.dash % 4}"
    if one.dots:
        drawing.lines.append((_path(one.points, scale), f"{style} joint"))
        drawing.dots.extend((scale.x(step), scale.y(value), style) for step, value in one.points)
        for step, low, high in one.intervals:
            drawing.bars.append((f"M{scale.x(step)} {scale.y(low)}V{scale.y(high)}", style))
    elif len(one.points) >= SMOOTHED_FROM:
        drawing.lines.append((_path(one.points, scale), f"{style} raw"))
        drawing.lines.append((_path(trailing_mean(one.points, SMOOTHING), scale), style))
    else:
        drawing.lines.append((_path(one.points, scale), style))
        if len(one.points) == 1:  # a line of one point is invisible
            drawing.dots.append((scale.x(one.points[0][0]), scale.y(one.points[0][1]), style))


def ticks(low: float, high: float, parts: int = 4) -> list[float]:
    """Round numbers, about `parts` intervals, from at most `low` to at least `high`."""
    if high - low < 1e-100:  # all equal, or too near to be divided
        high = low + 1.0
    rough = (high - low) / parts
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def trailing_mean(points: Sequence[Point], window: int) -> list[Point]:
    """Each value replaced by the mean of it and the window - 1 before it, fewer at the start."""
    means = []
    for i, (step, _) in enumerate(points):
        recent = [value for _, value in points[max(0, i - window + 1) : i + 1]]
        means.append((step, math.fsum(recent) / len(recent)))
    return means


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most `most` points: means over stretches of equal length."""
    length = math.ceil(len(points) / most)
    parts = [points[i : i + length] for i in range(0, len(points), max(1, length))]
    return [
        (math.fsum(step for step, _ in part) / len(part), math.fsum(value for _, value in part) / len(part))
        for part in parts
    ]


def _path(points: Sequence[Point], scale: Scale) -> str:
    return "M" + "L".join(f"{scale.x(step)} {scale.y(value)}" for step, value in thinned(points))


def _strips(series: Sequence[Series], scale: Scale) -> list[tuple[float, float, float, str]]:
    """Where the pointer finds a step's values: [left, width, centre, text], without gaps."""
    steps = sorted({step for one in series for step, _ in one.points})
    dotted = {step for one in series if one.dots for step, _ in one.points}
    every = math.ceil(len(steps) / MOST_STRIPS)
    shown = [step for i, step in enumerate(steps) if i % every == 0 or step in dotted or i == len(steps) - 1]
    centres = [scale.x(step) for step in shown]
    edges = [float(LEFT), *((a + b) / 2 for a, b in pairwise(centres)), float(WIDTH - RIGHT)]
    lookup = [(one.label, dict(one.points)) for one in series]
    strips = []
    for i, step in enumerate(shown):
        said = [f"{label}: {points[step]:.4g}" for label, points in lookup if step in points]
        strips.append((edges[i], round(edges[i + 1] - edges[i], 2), centres[i], "\n".join([f"step {step:.0f}", *said])))
    return strips
