"""Tasks that are read from their source as one goes through them, for data that is larger than memory."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

from envs.base import DataError, Env, Task
from envs.data import from_data
from envs.files import TABLE_SUFFIXES, one_line, parse_line
from envs.rows import Columns, Row, task_from_row

LINES = (".jsonl", ".ndjson", ".json")
FIRST = 32  # tasks that are read at once, to try rewards and templates on
SHOWN = 3  # rows that can't be used, that are named
LONGEST_LINE = 256 << 20  # bytes


class StreamedTasks:
    """The usable rows of JSON lines files, tables or a hub data set as tasks, in the source's order.

    It can be gone through again and again and is read each time; nothing of it is kept. `skipped` names the first rows
    that can't be used, `unusable` counts them, both of the pass that was made last.
    """

    def __init__(
        self,
        rows: str,
        columns: Columns,
        *,
        split: str = "train",
        config: str | None = None,
        revision: str | None = None,
    ) -> None:
        """`rows`: a path, a pattern, an address that fsspec knows, or a hub id, of which config and revision are."""
        self.rows, self.columns, self.split, self.config, self.revision = rows, columns, split, config, revision
        self.skipped: list[str] = []
        self.unusable = 0

    def __iter__(self) -> Iterator[Task]:
        return (task for task in self.after(0) if task is not None)

    def after(self, count: int) -> Iterator[Task | None]:
        """Yield a task for every row after the first `count`, None for a row that can't be used.

        Raises DataError where the source can't be read, or has no usable row at all.
        """
        self.skipped, self.unusable = [], 0
        used = count > 0
        for place, row in self._rows(count):
            try:
                task = task_from_row(row, self.columns, place)
            except ValueError as reason:
                self.unusable += 1
                if len(self.skipped) < SHOWN:
                    self.skipped.append(f"{place}: {reason}")
                yield None
                continue
            used = True
            yield task
        if not used:
            first = f" of {self.unusable}; first problem: {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"{self.rows}: no usable row{first}")

    def _rows(self, count: int) -> Iterator[Row]:
        """Yield every row after the first `count` with its place."""
        if any(kind in self.rows.rpartition("/")[2] for kind in LINES):
            return (
                (place, parse_line(line)) for place, line in islice(self._lines(), count, None)
            )  # what is passed over is not parsed
        return self._table(count)

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        import fsspec

        try:
            files = fsspec.open_files(self.rows, "rb", compression="infer")
            if not files:
                raise FileNotFoundError("no such file")
            for file in files:
                with file as handle:
                    for number, line in enumerate(iter(partial(handle.readline, LONGEST_LINE), b""), start=1):
                        if len(line) == LONGEST_LINE:
                            raise ValueError(f"line {number} of {file.path} is longer than {LONGEST_LINE:,} bytes")
                        if line.strip():
                            yield f"{file.path}:{number}", line
        except (OSError, EOFError, ValueError, ImportError) as error:
            raise DataError(f"{self.rows}: cannot be read: {one_line(error)}") from None

    def _table(self, count: int) -> Iterator[Row]:
        import datasets

        suffix = next((kind for end, kind in TABLE_SUFFIXES.items() if self.rows.endswith(end)), None)
        try:
            if suffix is not None:
                files = {self.split: self.rows}
                loaded = datasets.load_dataset(suffix, data_files=files, split=self.split, streaming=True)
            else:
                about = {"split": self.split, "revision": self.revision, "streaming": True}
                loaded = datasets.load_dataset(self.rows, self.config, **about)
            for number, row in enumerate(loaded.skip(count), start=count + 1):
                yield f"{self.rows}:{number}", row
        except GeneratorExit:
            raise
        except Exception as error:  # the library lets through whatever its file systems, parsers and network raise
            raise DataError(f"{self.rows}: cannot be streamed by datasets: {one_line(error)}") from None


class StreamedEnv(Env):
    """An environment whose training tasks are in `stream`; the split has the first of them."""

    def __init__(self, stream: StreamedTasks, test: Iterable[Task], *, buffer: int) -> None:
        first = list(islice(stream, FIRST))
        super().__init__(stream.rows, {"train": first, "test": list(test)}, skipped=stream.skipped)
        self.stream, self.buffer = stream, buffer

    def report(self) -> list[str]:
        """What its reader should be told."""
        lines = super().report()
        return [
            f"training tasks are streamed from {self.stream.rows}, {len(self.splits['test'])} test tasks",
            *lines[1:],
        ]


def stream(
    rows: str,
    *,
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    answer_required: bool = True,
    language: str | None = None,
    suffix: str = "",
    buffer: int = 10_000,
    test_rows: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> StreamedEnv:
    """Rows that are read as they are needed, for more than memory holds.

    `rows` is a path, a pattern (`rows/*.jsonl.gz`), an address that fsspec knows (`s3://bucket/rows.jsonl`) or a hub
    id. In training `buffer` tasks at a time are held, and shuffled among themselves. Nothing is held out: `test_rows`
    is a file or hub id of test tasks, of which `limit` are taken, in an order by `seed`.
    """
    if buffer < 1:
        raise DataError(f"buffer must be at least 1, got {buffer}")
    columns = Columns(prompt_column, answer_column, answer_required, language, suffix)
    streamed = StreamedTasks(rows, columns, split=split, config=config, revision=revision)
    test: Iterable[Task] = ()
    if test_rows is not None:
        test = from_data(
            test_rows,
            test_size=0,
            seed=seed,
            limit=limit,
            suffix=suffix,
            prompt_column=prompt_column,
            answer_column=answer_column,
            answer_required=answer_required,
        ).tasks("train")
    return StreamedEnv(streamed, test, buffer=buffer)
