"""Where a run's curves, completions and verdict are shown beside its files: TensorBoard, Weights & Biases, trackio."""

import importlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from grpo.config.sections import ConfigError, LoggedRun

TABLE_ROWS, TEXT = 64, 2000  # rows of a table, characters of a text in it
TEXTS = ("task", "prompt", "completion", "answer", "stop_reason")  # columns
WANDB_ID = "wandb_id.txt"
Row = Mapping[str, Any]
ESCAPES = {ord(sign): f"&#{ord(sign)};" for sign in "&<>|`["}  # signs that act in Markdown


class Board(Protocol):
    """One place that a run is shown in."""

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one point to each curve."""

    def completions(self, step: int, rows: Sequence[Row]) -> None:
        """Show a step's completions as a table."""

    def verdict(self, step: int, said: Mapping[str, str]) -> None:
        """Show the verdict on the run and what was found wrong, by name."""

    def close(self) -> None:
        """Flush and end."""


def table(step: int, rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Return columns and values of a completions table: what was asked, said, and paid by each reward."""
    rewards = list(dict.fromkeys(name for row in rows for name in row.get("rewards", {})))
    columns = ["step", *TEXTS, "reward", *rewards, "advantage", "tokens"]
    values = []
    for row in rows[:TABLE_ROWS]:
        own = {**row.get("rewards", {}), "reward": row.get("reward"), "advantage": _mean(row.get("advantage"))}
        numbers = [own.get(name) for name in columns[1 + len(TEXTS) : -1]]
        values.append([step, *(_text(row.get(name)) for name in TEXTS), *numbers, row.get("tokens")])
    return columns, values


def _text(value: Any) -> str:
    """Return a cell of text: a column holds one kind of value, whatever the rows' answers are."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair can't be written
    return text if len(text) <= TEXT else f"{text[:TEXT]} ..."


def _mean(advantage: Any) -> float | None:
    """Return a completion's advantage; of one a token their mean."""
    values = [one for one in advantage if one is not None] if isinstance(advantage, list) else None
    return advantage if values is None else statistics.fmean(values) if values else None


class TensorBoard:
    """Event files in the run directory; tables are texts in Markdown.

    They are written here and at once. SummaryWriter does it in a thread, which a full disk ends, and then waits for it
    for ever.
    """

    def __init__(self, output: Path, first_step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self.file = EventsWriter(str(output / "events"))
        if first_step:  # what an earlier sitting wrote of later steps is not shown
            self._write(first_step + 1, session_log=SessionLog(status=SessionLog.START))
        self.file.flush()

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        from tensorboardX.summary import scalar

        for name, value in metrics.items():
            self._write(step, summary=scalar(name, value))
        self.file.flush()

    def completions(self, step: int, rows: Sequence[Row]) -> None:
        """Add the table as a text."""
        columns, values = table(step, rows)
        lines = [columns, ["---"] * len(columns), *values]
        self._text(step, "completions", "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines))

    def verdict(self, step: int, said: Mapping[str, str]) -> None:
        """Add the verdict as a text."""
        self._text(step, "verdict", "\n\n".join(f"**{name}**: {_escaped(text)}" for name, text in said.items()))

    def close(self) -> None:
        """Flush and end."""
        self.file.close()

    def _text(self, step: int, name: str, text: str) -> None:
        from tensorboardX.summary import text as summary_of

        self._write(step, summary=summary_of(name, text))

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self.file.write_event(Event(wall_time=time.time(), step=step, **content))


def _escaped(value: Any) -> str:
    """Return a cell of Markdown in which the model's text can neither end the cell nor be a tag."""
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.translate(ESCAPES).split())


class WandB:
    """A run of a Weights & Biases project; its id is kept in the run directory, and a resumed run goes on in it."""

    def __init__(self, config: LoggedRun, output: Path, first_step: int) -> None:
        self.module = _module("wandb", "wandb_project")
        given = {"project": config.wandb_project, "name": output.name, "dir": str(output)}
        known = output / WANDB_ID
        if first_step and known.exists():
            given |= {"id": known.read_text(encoding="utf-8").strip(), "resume": "allow"}
        try:
            self.run = self.module.init(**given, config=config.model_dump(mode="json"))
        except self.module.Error as error:  # not logged in, not reached
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"wandb_project {config.wandb_project}: {reason} (the environment WANDB_MODE=offline needs no account)"
            ) from None
        known.write_text(f"{self.run.id}\n", encoding="utf-8")

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        self.run.log(dict(metrics), step=step)

    def completions(self, step: int, rows: Sequence[Row]) -> None:
        """Add the table to the step."""
        columns, values = table(step, rows)
        self.run.log({"completions": self.module.Table(columns=columns, data=values)}, step=step)

    def verdict(self, step: int, said: Mapping[str, str]) -> None:
        """Put the verdict into the run's summary."""
        for name, text in said.items():
            self.run.summary[name] = text

    def close(self) -> None:
        """Flush and end."""
        self.run.finish()


class Trackio:
    """A run of a trackio project, which is kept on this machine."""

    def __init__(self, config: LoggedRun, output: Path, first_step: int) -> None:
        self.module = _module("trackio", "trackio_project")
        self.run = self.module.init(
            project=config.trackio_project,
            name=output.name,
            config=config.model_dump(mode="json"),
            resume="allow" if first_step else "never",  # by the name
        )

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        self.module.log(dict(metrics), step=step)

    def completions(self, step: int, rows: Sequence[Row]) -> None:
        """Add the table to the step."""
        self.module.log({"completions": self._table(*table(step, rows))}, step=step)

    def verdict(self, step: int, said: Mapping[str, str]) -> None:
        """Add the verdict as a table of one row."""
        self.module.log({"verdict": self._table(list(said), [list(said.values())])}, step=step)

    def _table(self, columns: list[str], values: list[list[Any]]) -> Any:
        import pandas

        return self.module.Table(dataframe=pandas.DataFrame(values, columns=columns))

    def close(self) -> None:
        """Flush and end."""
        self.module.finish()


def boards(config: LoggedRun, output: Path, first_step: int) -> list[Board]:
    """Return the boards of a run; ConfigError where one is asked for that is not installed."""
    found: list[Board] = [TensorBoard(output, first_step)]
    if config.wandb_project:
        found.append(WandB(config, output, first_step))
    if config.trackio_project:
        found.append(Trackio(config, output, first_step))
    return found


def _module(name: str, key: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"{key} is set but {name} is not installed: pip install 'grpo-mlx[{name}]'") from None
