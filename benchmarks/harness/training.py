"""Benchmarks of a model that is being trained: what `eval_benchmarks` of a config asks for."""

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError, validate_call

from benchmarks.harness.decoding import Say, Session
from benchmarks.harness.items import ItemFile
from benchmarks.harness.problems import Problems, load_problems
from benchmarks.harness.settings import Settings
from benchmarks.harness.spec import Benchmark
from benchmarks.harness.summary import summarise
from grpo.config import Config
from grpo.config.layers import build
from grpo.config.sections import ConfigError
from grpo.model.policy import Policy
from grpo.runs import checkpoint

FOLDER = Path(__file__).parents[1]
SHOWN = ("pass@1", "pass@1_low", "pass@1_high", "truncated", "tokens")
# what a benchmark is asked like in training unless its entry says otherwise: as the run's own tasks are
LIKE_THE_RUN = ("template", "system_prompt", "chat_template_kwargs", "seed")
NOT_HERE = ("model", "adapter", "revision", "dtype", "server", "concurrency", "shard")  # what is measured is the run's


@dataclass(frozen=True)
class Measure:
    """One benchmark, its problems and how they are asked."""

    benchmark: Benchmark
    settings: Settings
    problems: Problems

    @property
    def name(self) -> str:
        """The benchmark's name in metrics and folders, with its year or task where it has several."""
        variant = self.benchmark.variant
        return f"{self.benchmark.name}_{variant}" if variant else self.benchmark.name


@dataclass(frozen=True)
class OpenBenchmarks:
    """The benchmarks of a run, see `grpo.evaluate.benchmarks.Benchmarks`."""

    measures: tuple[Measure, ...]

    @property
    def notes(self) -> list[str]:
        """What was left out of the problems, and which are not the benchmark's own."""
        return [f"{one.name}: {note}" for one in self.measures for note in one.problems.notes]

    def measure(self, policy: Policy, folder: Path, check: Callable[[], None], say: Say) -> dict[str, float]:
        """Sample and judge every benchmark; items.jsonl and figures.json of each in folder/NAME."""
        found: dict[str, float] = {}
        for one in self.measures:
            name = one.name
            figures = self._figures(one, policy, folder / name, check)
            found |= {f"{name}/{key}": float(figures[key]) for key in SHOWN if figures.get(key) is not None}
            if figures["pass@1"] is not None:
                interval = f"{figures['pass@1_low']:.3f} to {figures['pass@1_high']:.3f}"
                say(f"  {name}: pass@1 {figures['pass@1']:.3f} ({interval}), {_size(one)}")
        return found

    def _figures(self, one: Measure, policy: Policy, folder: Path, check: Callable[[], None]) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        file, samples = ItemFile(folder), one.settings.samples
        there = file.read().keys()
        places = range(len(one.problems.tasks))
        missing = [place for place in places if any((place, sample) not in there for sample in range(samples))]
        if missing:
            quiet: Say = lambda text: None  # noqa: E731
            session = Session(one.benchmark, one.settings, one.problems, missing, policy=policy, say=quiet)
            session.decode(file, check)
        items = [item for _, item in sorted(file.read().items())]
        figures: dict[str, Any] = summarise(items, one.benchmark)["figures"]
        record = {"settings": one.settings.model_dump(mode="json"), "data": one.problems.source}
        checkpoint.write_text(folder / "figures.json", json.dumps({**record, "figures": figures}, indent=1))
        return figures


def open_benchmarks(config: Any) -> OpenBenchmarks:
    """Load the problems of `config.eval_benchmarks`; ConfigError or envs.DataError, one line, for what can't be."""
    measures = []
    for entry in config.eval_benchmarks:
        name, told = _read(entry)
        benchmark = _benchmark(name, told)
        own = {key: getattr(config, key) for key in LIKE_THE_RUN}
        own |= {"samples": 1, "max_tokens": benchmark.max_tokens, "model": config.model}
        if isinstance(config, Config):
            own |= {"temperature": config.eval_temperature, "top_p": config.eval_top_p, "max_rows": config.max_rows}
            own["max_tokens"] = config.max_completion_length
        if told.get("template", own["template"]) not in ("chat", "r1"):
            own |= {"system_prompt": None, "chat_template_kwargs": {}}
        settings = build(Settings, {**own, **told}, source=f"eval_benchmarks {name}")
        measures.append(Measure(benchmark, settings, load_problems(benchmark, settings)))
    names = [one.name for one in measures]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"eval_benchmarks names {min(twice)} twice")
    return OpenBenchmarks(tuple(measures))


def _read(entry: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of an entry and the flags it gives."""
    if isinstance(entry, str):
        name, _, count = entry.partition(":")
        if count and not (count.isdigit() and int(count)):
            raise ConfigError(f"eval_benchmarks {entry!r} must read NAME or NAME:PROBLEMS, e.g. math500:50")
        return name.strip(), {"limit": int(count)} if count else {}
    told = dict(entry)
    name = told.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"eval_benchmarks: an object needs a name, got {sorted(map(str, entry))}")
    if refused := sorted(told.keys() & set(NOT_HERE)):
        raise ConfigError(f"eval_benchmarks {name}: {refused[0]} can't be given, the run's own model is measured")
    return name, told


def _benchmark(name: str, told: dict[str, Any]) -> Benchmark:
    """Return a benchmark of this package; the choices it offers (a year, languages, a task) are taken out of `told`."""
    makers = ("\nBENCHMARK = ", "\ndef benchmark(")
    files = {path.stem: path.read_text("utf-8") for path in FOLDER.glob("[!_]*.py")}
    known = sorted(stem for stem, text in files.items() if any(maker in text for maker in makers))
    if name not in known:
        raise ConfigError(f"eval_benchmarks: there is no {name!r}; there are {', '.join(known)}")
    module = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "BENCHMARK"):
        whole: Benchmark = module.BENCHMARK
        return whole
    choices = inspect.signature(module.benchmark).parameters
    given = {choice: told.pop(choice) for choice in choices if choice in told}
    for choice, one in choices.items():
        if one.default is one.empty and choice not in given:
            raise ConfigError(f"eval_benchmarks {name} needs its {choice}: {{name: {name}, {choice}: ...}}")
    try:
        found: Benchmark = validate_call(module.benchmark)(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"eval_benchmarks {name}: {first['loc'][0]}: {first['msg']}, got {first['input']!r}"
        ) from None
    return found


def _size(one: Measure) -> str:
    of = f" of {one.problems.of}" if len(one.problems.tasks) < one.problems.of else ""
    return f"{len(one.problems.tasks)}{of} problems x {one.settings.samples}"
