"""What a terminal shows of a run while it goes: bars, the best and worst of a group, findings."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from grpo.doctor.findings.kinds import Finding
from grpo.scoring import GroupScores
from grpo.types import Group as Rollouts
from rewards.printable import printable

BAR, REWARDS = 24, 6  # columns of a bar; rewards that have one
FEWEST_LINES = 3  # of a completion
SMALLEST_HEIGHT = 16  # lines of a terminal below which only plain lines are written


def draws(console: Console) -> bool:
    """Return whether a console can draw over what it drew: FORCE_COLOR makes a terminal of a pipe, but not that."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def token_bar(console: Console, what: str, total: int, *, shown: bool = True) -> Progress:
    """Return a bar for tokens that is removed at the end; nothing is shown without a terminal."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("tokens"), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not (shown and draws(console)))
    bar.add_task(what, total=total)
    return bar


class LiveView:
    """The part of a terminal below a run's lines that is drawn again and again."""

    def __init__(self, console: Console, steps: int) -> None:
        self.console, self.steps = console, steps
        self.step = 0
        self.metrics: dict[str, float] = {}
        self.ranges: dict[str, tuple[float, float]] = {}  # of the means so far, 0 and 1 included
        self.said: list[tuple[str, str, str]] = []  # label, style, text
        self.found: Sequence[Finding] = ()
        self.bar: Progress | None = None
        self.live = Live(self, console=console, refresh_per_second=4, transient=True)

    def start(self) -> None:
        """Begin to draw."""
        self.live.start()

    def stop(self) -> None:
        """Remove what is drawn."""
        self.live.stop()

    def progress(self, what: str, total: int) -> Progress:
        """Return a bar that is drawn in the view."""
        self.bar = token_bar(self.console, what, total, shown=False)
        return self.bar

    def completions(self, groups: Sequence[Rollouts], scored: Sequence[GroupScores]) -> None:
        """Take the last completion, and the best and worst of the group whose rewards differ most."""
        widths = [_width(scores.totals) for scores in scored]
        place = widths.index(max(widths))
        group, totals = groups[place], scored[place].totals
        ranked = sorted((total, sample) for sample, total in enumerate(totals) if total is not None)
        self.said = [("asked", "dim", group.prompt.text)]
        if ranked:
            for label, style, (total, sample) in (("best", "green", ranked[-1]), ("worst", "red", ranked[0])):
                self.said.append((f"{label} {total:.2f}", style, group.rollouts[sample].text))
        self.said.append(("last", "", groups[-1].rollouts[-1].text))

    def update(self, step: int, metrics: dict[str, float], found: Sequence[Finding]) -> None:
        """Show the figures and findings of a step."""
        self.step, self.metrics, self.found, self.bar = step, metrics, found, None
        for name, value in metrics.items():
            low, high = self.ranges.get(name, (0.0, 1.0))
            self.ranges[name] = (min(low, value), max(high, value))
        self.live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw: bars, completions, findings, and the bar of what is being done."""
        parts: list[RenderableType] = []
        if self.step:
            parts.append(self._bars())
            room = max(FEWEST_LINES, (console.height - 8 - REWARDS) // max(1, len(self.said)) - 1)
            parts += [_clipped(label, style, text, options.max_width - 4, room) for label, style, text in self.said]
        parts += [
            Text(printable(f"{one.name}: {one.evidence}"), style="yellow", no_wrap=True, overflow="ellipsis")
            for one in list(self.found)[:2]
        ]
        if parts:
            yield Panel(Group(*parts), title=f"step {self.step} of {self.steps}", border_style="dim")
        if self.bar is not None:
            yield self.bar.get_renderable()

    def _bars(self) -> Table:
        table = Table.grid(padding=(0, 1))
        rows = [("steps", (0.0, float(self.steps)), float(self.step), f"{self.step}/{self.steps}")]
        for name, value in self.metrics.items():
            if name.startswith("rewards/") and name.endswith("/mean"):
                label = name.split("/")[1].rsplit(":", 1)[-1]
                rows.append((label, self.ranges.get(name, (0.0, 1.0)), value, f"{value:.2f}"))
        for label, (low, high), value, said in rows[: REWARDS + 1]:
            bar = ProgressBar(total=high - low, completed=value - low, width=BAR)
            table.add_row(Text(printable(label)), bar, Text(said))
        return table


def _width(totals: Sequence[float | None]) -> float:
    known = [total for total in totals if total is not None]
    return max(known) - min(known) if known else -1.0


def _clipped(label: str, style: str, text: str, width: int, lines: int) -> Text:
    """Return a labelled text in at most `lines` lines of a width; the model's text is only text."""
    flat = " ".join(printable(text).split())
    most = max(20, width * lines - len(label) - 2)
    shown = flat if len(flat) <= most else f"{flat[: most // 2]} ... {flat[-(most // 2 - 5) :]}"
    return Text.assemble((f"{label}: ", "bold"), (shown, style))
