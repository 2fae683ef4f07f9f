"""What the page shows now: the runs as they were last read, kept up to date by a thread."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grpo.report.index import Index
from grpo.report.judgement import Judgement, judge
from grpo.report.page import Sections, content_of, facets, sections_of, whole_page
from grpo.report.reading import ReportError
from grpo.report.stages import read

POLL = 1.0  # seconds between two looks at the files
JUDGE_EVERY = 10.0  # seconds; a verdict reads more than the newest step
LOOKED_AT = ("metrics.jsonl", "summary.json", "config.yaml", "held_out.json")

Stamp = tuple[tuple[str, int, int], ...]


@dataclass
class Watched:
    """The runs of a page. `refresh` reads what is new; all else answers from what was read last."""

    paths: Sequence[Path]
    version: int = 0
    _stamp: Stamp = ()
    _judged: dict[Path, tuple[float, Judgement]] = field(default_factory=dict)
    _written: tuple[int, Sections] | None = None  # and their version
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Read the metrics, but no completions yet; ReportError if there is nothing to show."""
        self.reading = read(self.paths)
        self.index = Index(self.reading.runs)
        self._stamp = self._look()

    def start(self) -> None:
        """Read on in a thread until `stop`."""
        threading.Thread(target=self._follow, daemon=True, name="watch").start()

    def stop(self) -> None:
        """End the thread after the look under way, and the streams of news."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Return whether the page is not kept up to date any more."""
        return self._stopped.is_set()

    def refresh(self) -> bool:
        """Look at the files once; True if the page is another now."""
        stamp = self._look()
        changed = stamp != self._stamp
        if changed:
            self._stamp = stamp
            self._read_again()
        if self.index.refresh(self._published) or changed:
            self._published()
            return True
        return False

    def page(self) -> str:
        """The whole page, with the sections as they were last written: it asks for newer ones when it is there."""
        version, sections = self._written or self._write()
        return whole_page(sections, rows=None, version=version)

    def parts(self) -> str:
        """The newest of the sections that change."""
        _, sections = self._write()
        return sections.top + sections.bottom

    def news(self) -> dict[str, object]:
        """What the page is told: which version there is, how far the completions are read, what to filter by."""
        index = self.index
        indexing = f"{index.read} of {index.total} files" if index.read < index.total else ""
        return {"version": self.version, "indexing": indexing, "facets": facets(index.table)}

    def _follow(self) -> None:
        self._write()  # before the completions are read, so that the page is there at once
        while not self._stopped.is_set():
            self.refresh()
            self._stopped.wait(POLL)

    def _look(self) -> Stamp:
        """Sizes and times of the files whose change is seen on the page."""
        folders = [path for run in self.reading.runs for path in (run.path,)]
        folders += [pipeline.path / name for pipeline in self.reading.pipelines for name in _stages(pipeline.path)]
        found = []
        for path in dict.fromkeys(folder / name for folder in folders for name in LOOKED_AT):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((str(path), status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _read_again(self) -> None:
        try:
            reading = read(self.paths)
        except ReportError:  # being replaced: the next look has it
            return
        if [run.path for run in reading.runs] != [run.path for run in self.reading.runs]:
            self.index = Index(reading.runs)  # a stage has begun
        self.reading = reading
        self.index.runs = list(reading.runs)

    def _published(self) -> None:
        self.version += 1

    def _judge(self, run: Path) -> Judgement:
        now = time.monotonic()
        at, judgement = self._judged.get(run, (-JUDGE_EVERY, None))
        if judgement is None or now - at >= JUDGE_EVERY:
            judgement = judge(run)
            self._judged[run] = (now, judgement)
        return judgement

    def _write(self) -> tuple[int, Sections]:
        """The sections of this version, written once."""
        with self._lock:
            version = self.version
            if self._written is None or self._written[0] != version:
                self._written = version, sections_of(content_of(self.reading, self.index.table, self._judge))
            return self._written


def _stages(pipeline: Path) -> list[str]:
    return sorted(path.name for path in pipeline.iterdir() if path.is_dir())
