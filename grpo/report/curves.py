"""Turn numbers into the parts of an SVG: paths, bands, dots, ticks and readouts. Positions only, no colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

TOP, BOTTOM, RIGHT = 8, 22, 14  # margins around the plot
CHARACTER = 6.0  # user units of a character of an axis label
MOST_POINTS = 300  # of a line; more are averaged in runs of equal length
MOST_STRIPS = 80  # places with a readout
SMOOTHED_FROM = 30  # points; a line of as many is drawn thin, under the trailing mean of SMOOTHING steps
SMOOTHING = 5

Point = tuple[float, float]  # step, value
Interval = tuple[float, float, float]  # step, low, high


@dataclass(frozen=True)
class Box:
    """The size of a drawing in user units."""

    width: float = 340
    height: float = 170


@dataclass(frozen=True)
class Series:
    """One line, or the dots of held-out figures with their intervals."""

    label: str
    points: Sequence[Point]
    colour: int = 0
    dash: int = 0
    dots: bool = False
    intervals: Sequence[Interval] = ()  # of dots
    band: Sequence[Interval] = ()  # around a line: the lowest and highest of several seeds


@dataclass(frozen=True)
class Strip:
    """Where a pointer or the arrow keys find a step's values."""

    left: float
    width: float
    centre: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """A panel in user units, ready for the template."""

    box: Box
    left: float  # where the plot begins: the labels of the y axis stand before it
    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    x_ticks: list[tuple[float, str, str]] = field(default_factory=list)  # place, text, anchor
    bands: list[tuple[str, str]] = field(default_factory=list)  # path, css classes
    lines: list[tuple[str, str]] = field(default_factory=list)
    bars: list[tuple[str, str]] = field(default_factory=list)
    dots: list[tuple[float, float, str]] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)

    @property
    def right(self) -> float:
        """The right edge of the plot."""
        return self.box.width - RIGHT

    @property
    def bottom(self) -> float:
        """The lower edge of the plot."""
        return self.box.height - BOTTOM


@dataclass(frozen=True)
class Scale:
    """From steps and values to user units."""

    box: Box
    left: float
    last: float  # step at the right edge
    low: float
    high: float

    def x(self, step: float) -> float:
        return round(self.left + (self.box.width - self.left - RIGHT) * step / self.last, 1)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return round(TOP + (self.box.height - TOP - BOTTOM) * (self.high - inside) / (self.high - self.low), 1)


def values_of(series: Sequence[Series]) -> list[float]:
    """Every value that must fit on the y axis."""
    values = [value for one in series for _, value in one.points]
    spans = [span for one in series for span in (*one.intervals, *one.band)]
    return values + [edge for _, low, high in spans for edge in (low, high)]


def draw(series: Sequence[Series], *, box: Box | None = None, values: Sequence[float] = ()) -> Drawing:
    """Draw these series, some of which has a point; `values` must fit on the y axis too."""
    box = box or Box()
    shown = [*values_of(series), *values]
    y_ticks = ticks(min(0.0, *shown), max(0.0, *shown))
    texts = [f"{tick:.6g}" for tick in y_ticks]
    left = 10 + CHARACTER * max(map(len, texts))
    last = max(1.0, *(step for one in series for step, _ in one.points))
    scale = Scale(box, left, last, y_ticks[0], y_ticks[-1])
    drawing = Drawing(
        box,
        left,
        y_ticks=[(scale.y(tick), text) for tick, text in zip(y_ticks, texts, strict=True)],
        x_ticks=_x_ticks(scale),
        strips=_strips(series, scale),
    )
    for one in series:
        _add(drawing, one, scale)
    return drawing


def _x_ticks(scale: Scale) -> list[tuple[float, str, str]]:
    """Whole steps that leave their labels room; a label that would cross the right edge ends there."""
    parts = 4 if scale.box.width >= 300 else 2
    found = []
    for tick in ticks(0, scale.last, parts):
        if tick <= scale.last and tick == int(tick):
            x, text = scale.x(tick), f"{tick:.0f}"
            over = x + CHARACTER * len(text) / 2 > scale.box.width
            found.append((scale.box.width if over else x, text, "end" if over else "middle"))
    return found


def _add(drawing: Drawing, one: Series, scale: Scale) -> None:
    style = f"s{one.colour % 8} d{one.dash % 4}"
    if one.band:
        drawing.bands.append((_band(one.band, scale), style))
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


def _band(band: Sequence[Interval], scale: Scale) -> str:
    """Return the outline of the area between the low and the high edge."""
    lows = thinned([(step, low) for step, low, _ in band])
    highs = thinned([(step, high) for step, _, high in band])
    edge = [*lows, *reversed(highs)]
    return "M" + "L".join(f"{scale.x(step)} {scale.y(value)}" for step, value in edge) + "Z"


def _strips(series: Sequence[Series], scale: Scale) -> list[Strip]:
    """Return the places of the readouts, without gaps between them."""
    steps = sorted({step for one in series for step, _ in one.points})
    dotted = {step for one in series if one.dots for step, _ in one.points}
    every = math.ceil(len(steps) / MOST_STRIPS)
    shown = [step for i, step in enumerate(steps) if i % every == 0 or step in dotted or i == len(steps) - 1]
    centres = [scale.x(step) for step in shown]
    edges = [scale.left, *((a + b) / 2 for a, b in pairwise(centres)), scale.box.width - RIGHT]
    lookup = [(one.label, dict(one.points)) for one in series]
    strips = []
    for i, step in enumerate(shown):
        said = [f"{label}: {points[step]:.4g}" for label, points in lookup if step in points]
        text = "\n".join([f"step {step:.0f}", *said])
        strips.append(Strip(round(edges[i], 2), round(edges[i + 1] - edges[i], 2), centres[i], text))
    return strips
