"""Run a benchmark: load, decode what is missing, judge, write, sum up.

An output directory holds config.json (the settings), items.jsonl, and when every problem is there results.json and
table.md. The same command again goes on where it stopped.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.settings import FREE_TO_CHANGE, Settings, parser, settings_of
from benchmarks.harness.spec import Benchmark
from grpo.config.sections import ConfigError
from grpo.ranks.launch import place
from rewards.printable import say

if TYPE_CHECKING:
    from benchmarks.harness.items import ItemFile
    from benchmarks.harness.problems import Problems
    from grpo.runs.interrupt import StopFlag

CONFIG, RESULTS, TABLE = "config.json", "results.json", "table.md"


def main(benchmark: Benchmark, description: str, arguments: Sequence[str] | None = None) -> int:
    """The command of a benchmark. Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    return run_command(benchmark, parser(benchmark, description).parse_args(arguments))


def run_command(benchmark: Benchmark, options: argparse.Namespace) -> int:
    """Run with a parsed command line; what the user can put right is one line on stderr."""
    from envs import DataError

    try:
        settings = settings_of(benchmark, options)
        if options.dry_run:
            return dry_run(benchmark, settings, options.output)
        return _guarded(benchmark, settings, options.output)
    except (ConfigError, DataError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}", sys.stderr)
        return 2


def dry_run(benchmark: Benchmark, settings: Settings, output: Path) -> int:
    """Say what would be run: the model and a file of problems are looked at, the hub and a server are not asked."""
    from benchmarks.harness.model import check_paths
    from benchmarks.harness.problems import load_problems

    check_paths(settings)
    saved = _saved(output / CONFIG)
    changed = [
        key
        for key, value in settings.model_dump(mode="json").items()
        if saved is not None and key not in FREE_TO_CHANGE and saved["settings"].get(key) != value
    ]
    if changed and saved is not None:
        raise ConfigError(
            _another(output, changed[0], saved["settings"].get(changed[0]), getattr(settings, changed[0]))
        )
    asked = f"the problems of {benchmark.source.hub} on the hub" if benchmark.source else "the problems of its name"
    if settings.data is not None or benchmark.make is not None:
        problems = load_problems(benchmark, settings)
        asked = f"{len(problems.tasks)} problems of {problems.source}"
        for note in problems.notes:
            say(f"note: {note}")
    where = f"server {settings.server}, model {settings.model}" if settings.server else f"model {settings.model}"
    say(f"ready to run {benchmark.name} in {output}: {asked}, {settings.samples} samples each, {where}")
    return 0


def _guarded(benchmark: Benchmark, settings: Settings, output: Path) -> int:
    from grpo.cpu.blas import load_blas

    load_blas()
    from benchmarks.harness.model import check_paths
    from benchmarks.harness.problems import load_problems
    from grpo.runs.interrupt import Interrupted, StopFlag

    check_paths(settings)  # before the hub is asked for data
    settings = _placed_by_launcher(settings)
    try:
        with StopFlag() as stop:
            return run(benchmark, settings, load_problems(benchmark, settings), output, stop)
    except Interrupted as error:
        say(f"{error}; finished items are in {output}: the same command continues", sys.stderr)
        return error.exit_code


def _placed_by_launcher(settings: Settings) -> Settings:
    """Under mlx.launch every process takes its share."""
    rank, processes = place()
    if settings.shard is not None or processes == 1:
        return settings
    return settings.model_copy(update={"shard": f"{rank}/{processes}"})


def run(benchmark: Benchmark, settings: Settings, problems: "Problems", output: Path, stop: "StopFlag") -> int:
    """Decode what is missing of this process's share; sum up if nothing is missing of the whole."""
    from benchmarks.harness.decoding import Session
    from benchmarks.harness.items import ItemFile
    from benchmarks.harness.model import identity
    from grpo.runs.checkpoint import write_text

    with _claimed(settings, output):
        name = " ".join(filter(None, (benchmark.name, benchmark.variant)))
        record = {"benchmark": name, "settings": settings.model_dump(mode="json"), **identity(settings)}
        record["reward_options"] = dict(benchmark.reward_options)
        record["data"] = {"source": problems.source, "sha256": problems.sha256, "notes": problems.notes}
        record["data"] |= {"problems": problems.of, "standard": problems.standard}
        _check_same(output / CONFIG, record)
        for note in problems.notes:
            say(f"note: {note}")
        file = ItemFile(output)
        part, parts = settings.part
        missing = [place for place in _missing(file, problems, settings) if place % parts == part]
        if missing:
            session = Session(benchmark, settings, problems, missing)
            write_text(output / CONFIG, json.dumps(record, indent=1, ensure_ascii=False))  # nothing more is refused
            session.decode(file, stop.check)
        still = _missing(file, problems, settings)
        if still:
            say(f"{len(still)} of {len(problems.tasks)} problems are left to the other shards; the last one sums up")
            return 0
        _conclude(benchmark, settings, problems, record, file)
    return 0


def _conclude(
    benchmark: Benchmark, settings: Settings, problems: "Problems", record: dict[str, Any], file: "ItemFile"
) -> None:
    """results.json and table.md from the items of all."""
    from benchmarks.harness.decoding import speed
    from benchmarks.harness.model import surroundings
    from benchmarks.harness.summary import summarise
    from benchmarks.harness.table import table
    from grpo.runs.checkpoint import write_text

    output = file.path.parent
    wanted = {(place, sample) for place in range(len(problems.tasks)) for sample in range(settings.samples)}
    items = [item for key, item in sorted(file.read().items()) if key in wanted]
    summary = summarise(items, benchmark)
    standard = problems.standard and len(problems.tasks) == problems.of  # figures of others are of all problems
    results = {
        **record,
        "rewards": list(benchmark.rewards),
        **summary,
        "speed": speed(output),
        "published": [asdict(one) for one in benchmark.published] if standard else [],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "command": shlex.join(sys.argv),
        **surroundings(),
    }
    write_text(output / RESULTS, json.dumps(results, indent=1, ensure_ascii=False))
    shown = table(results)
    write_text(output / TABLE, shown)
    say(shown + f"\n{output}/{RESULTS}, {output}/items.jsonl")


def _commit() -> str | None:
    """The commit of the checkout this runs from; None for an installed wheel."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True)
    return told.stdout.strip() or None


def _claimed(settings: Settings, output: Path) -> Any:
    """The lock of the directory, or of this shard's place in it."""
    from grpo.runs.checkpoint import lock

    part, parts = settings.part
    if parts == 1:
        return lock(output)
    output.mkdir(parents=True, exist_ok=True)
    return lock(output / f".shard_{part}_of_{parts}")


def _check_same(path: Path, record: dict[str, Any]) -> None:
    """A run may only go on as what it began as."""
    saved = _saved(path)
    if saved is None:
        return
    before, now = _flat(saved), _flat(record)
    for key in before.keys() | now.keys():
        if key not in FREE_TO_CHANGE | {"data.notes"} and before.get(key) != now.get(key):
            raise ConfigError(_another(path.parent, key, before.get(key), now.get(key)))


def _another(output: Path, key: str, before: Any, now: Any) -> str:
    return (
        f"{output} holds a run with {key} {before!r}, now {now!r}: choose another --output, or the settings in its "
        "config.json"
    )


def _saved(path: Path) -> dict[str, Any] | None:
    """Return the record of the run that a directory holds; None where there is none."""
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        saved["settings"].keys()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{path} can't be read: choose another --output") from None
    return saved


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in record.items() if key not in ("settings", "data")}
    return rest | record["settings"] | {f"data.{key}": value for key, value in record["data"].items()}


def _missing(file: "ItemFile", problems: "Problems", settings: Settings) -> list[int]:
    """Places of the problems that lack an item."""
    there = file.read().keys()
    places = range(len(problems.tasks))
    return [place for place in places if any((place, sample) not in there for sample in range(settings.samples))]
