"""One run of a pipeline: which stages are done, and doing those that are not."""

import json
import time
from pathlib import Path
from typing import Any

import mlx.core as mx

from distill.pipeline.cache import BEGUN, Record, begin, finish, finished
from distill.pipeline.config import (
    CONFIG,
    CORPORA,
    PipelineConfig,
    active,
    check,
    columns,
    gives_adapter,
    references_by_name,
    sampled_by,
    settings_of,
)
from distill.pipeline.evaluation import LENGTH, Measured, measured
from distill.pipeline.picture import draw
from distill.pipeline.products import CORPUS, MODEL, TASKS, Product, digest, fuse, hash_of, named_files
from distill.pipeline.stages import KINDS, steps_for
from distill.pipeline.tables import comparison_table, figures_of, page, short, shown, stages_table, steps_table
from envs import DataError
from grpo.config.loading import to_yaml
from grpo.config.sections import ConfigError
from grpo.report.page import render
from grpo.runs import checkpoint
from grpo.runs.interrupt import StopFlag
from rewards.printable import say

TABLES, NUMBERS, PICTURE, REPORT = "stages.md", "stages.json", "stages.png", "report.html"
# keys that change what is evaluated and kept, not what is made
WATCHED = {
    "output",
    "save_every",
    "keep_checkpoints",
    "completions_every",
    "completions_logprobs",
    "probe_every",
    "probe_prompts",
    "wandb_project",
    "trackio_project",
}
# what a stage took: not in the tables, which a kill must not change
COST = ("seconds", "cpu_seconds", "peak_bytes", "resumed")


class PipelineRun:
    """The stages of a config in a directory, each in the folder of its name."""

    def __init__(self, config: PipelineConfig, output: Path) -> None:
        self.config, self.output = config, output

    def stage(self, name: str, *, again: bool = False) -> None:
        """Run a stage, or say that it is done; a finished one is run again if `again`."""
        folder, start = self.output / name, time.monotonic()
        of = self._inputs(name)
        inputs = hash_of(of)
        record = finished(folder)
        made = record is not None and record.inputs == inputs and record.product == digest(self.product(name))
        if made and not again:
            say(f"[{name}] done already")
            self._measure(name)
            return
        resumed = (folder / BEGUN).exists()
        moved = begin(folder, inputs, of, again=record is not None)  # a finished stage: asked for again, or damaged
        say(f"\n[{name}] {self.config.stages[name].kind}" + (f"; {moved}" if moved else ""))
        cpu = time.process_time()
        mx.reset_peak_memory()
        figures = self._work(name, folder)
        product = digest(self.product(name))
        if product is None:
            raise ConfigError(f"stage {name} has ended without {self.product(name)}")
        cost = {
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "peak_bytes": mx.get_peak_memory(),
            "resumed": resumed and moved is None,  # then the times are those of the last part
        }
        finish(folder, Record(inputs, product, figures | cost))
        self._measure(name)
        say(f"[{name}] {time.monotonic() - start:.0f} s")

    def product(self, name: str) -> Product:
        """Return the product of a stage, whether or not it exists yet."""
        stage, folder = self.config.stages[name], self.output / name
        if stage.kind == "model":
            return Product(model=stage.start)
        if stage.kind in CORPORA:
            return Product(corpus=str(folder / (TASKS if stage.config.get("rows") == "scenarios" else CORPUS)))
        if gives_adapter(self.config, name):
            return Product(model=self.product(str(stage.start)).model, adapter=str(folder))
        return Product(model=str(folder / MODEL))

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return every stage's record without its seconds; ConfigError if one is not done."""
        found = {}
        for name, stage in active(self.config).items():
            if stage.kind != "evaluate":
                record = finished(self.output / name)
                if record is None or record.inputs != hash_of(self._inputs(name)):
                    raise ConfigError(f"stage {name} is not done with these settings: run the pipeline without --stage")
                found[name] = {key: value for key, value in record.figures.items() if key not in COST}
        return found

    def measured(self) -> dict[str, Measured]:
        """Every model on the held-out problems."""
        models = [name for name in self.figures() if self.product(name).model is not None]
        return {name: self._measured(name) for name in models}

    def _work(self, name: str, folder: Path) -> dict[str, Any]:
        stage = self.config.stages[name]
        settings = settings_of(self.config, name, self._references(name))
        if stage.equal_tokens is not None:
            settings = settings.model_copy(update={"steps": self._equal_steps(name, settings)})
        try:
            figures = KINDS[stage.kind](settings, folder)
            if stage.kind in ("rl", "sft", "student") and not gives_adapter(self.config, name):
                fuse(settings.model, folder)
        except (ConfigError, DataError) as error:
            advice = f" (remove {folder} to start it over)" if "can't resume" in str(error) else ""
            raise ConfigError(f"stage {name}: {error}{advice}") from error
        finally:
            mx.clear_cache()  # the next model needs other sizes
        return figures

    def _references(self, name: str) -> dict[str, Any]:
        """Return the files of other stages' products."""
        found = references_by_name(self.config, name)
        for key, text in found.items():
            who = text.removeprefix("stage:")
            if who != text:
                product = self._require(name, who)
                found[key] = product.adapter if "adapter" in key else product.corpus or product.model
        return found

    def _require(self, name: str, earlier: str) -> Product:
        product = self.product(earlier)
        if finished(self.output / earlier) is None or digest(product) is None:
            raise ConfigError(f"stage {name} needs {earlier}, which is not done: run the pipeline without --stage")
        return product

    def _inputs(self, name: str) -> dict[str, Any]:
        """All a stage is made from: its settings, places by name, and the bytes that other stages or models give."""
        stage = self.config.stages[name]
        settings = settings_of(self.config, name, references_by_name(self.config, name))
        sources = {*stage.take.values(), *filter(None, (stage.start, stage.teacher))} & self.config.stages.keys()
        keys = settings.model_dump(mode="json", exclude=WATCHED)
        given = {who: digest(self._require(name, who)) for who in sorted(sources)}
        of = {"kind": stage.kind, "settings": keys, "bytes": given, "files": named_files(keys)}
        if stage.equal_tokens is not None:
            of["settings"]["steps"] = self._equal_steps(name, settings)
        return of

    def _equal_steps(self, name: str, settings: Any) -> int:
        """Return the steps that sample about the tokens other stages have, at the length the start writes."""
        stage = self.config.stages[name]
        tokens = 0
        for source in sampled_by(stage):
            record = finished(self.output / source)
            if record is None:
                raise ConfigError(f"stage {name} needs {source}, which is not done")
            tokens += record.figures["sampled_tokens"]
        length = self._measured(str(stage.start)).figure(LENGTH)
        return steps_for(tokens, settings.batch, length.mean if length else 1.0)

    def _measured(self, name: str) -> Measured:
        folder = self.output / name
        sets = [self.config.held_out, *self.config.also_held_out]
        return measured(self.product(name), sets, folder, self.config.seed)

    def _measure(self, name: str) -> None:
        """Say a model's held-out figures."""
        if self.product(name).model is not None:
            result = self._measured(name)
            names = [*columns(self.config), LENGTH]
            said = "  ".join(f"{short(column)} {shown(result.figure(column), column)}" for column in names)
            say(f"[{name}] held out: {said}")


def run_pipeline(config: PipelineConfig, output: Path, *, only: str | None = None) -> None:
    """Run every stage that is not done, or `only` one, again if it was done.

    Raises ConfigError or envs.DataError, one line, for what the user can put right, and Interrupted after saving.
    """
    check(config)
    output = output.resolve()  # runs record absolute paths: they can be resumed from any folder
    with checkpoint.lock(output), StopFlag() as stop:
        checkpoint.write_text(output / CONFIG, to_yaml(config.model_copy(update={"output": str(output)})))
        start, run = time.monotonic(), PipelineRun(config, output)
        for name, stage in active(config).items():
            if only is None or name == only:
                stop.check()
                if stage.kind == "evaluate":
                    _write_tables(run, name, output)
                else:
                    run.stage(name, again=only is not None)
        stop.check()
        say(f"done in {time.monotonic() - start:.0f} s")


def _write_tables(run: PipelineRun, name: str, output: Path) -> None:
    config = run.config
    figures, measured = run.figures(), run.measured()
    comparison = settings_of(config, name, {}).comparison
    compared = None if comparison is None else comparison_table(config, comparison, figures, measured)
    checkpoint.write_text(output / NUMBERS, json.dumps(figures_of(config, figures, measured), indent=1))
    steps = steps_table(config, measured)
    text = page(config, name, stages_table(config, figures, measured), steps, compared)
    checkpoint.write_text(output / TABLES, text)
    draw(config, measured, output / PICTURE)
    checkpoint.write_text(output / REPORT, render([output]))
    say(f"\n{text}\nthe table: {output / TABLES}; as numbers: {output / NUMBERS}; as a picture: {output / PICTURE}")
    say(f"the stages step by step, and their completions: {output / REPORT}")
