"""Run supervised fine-tuning in a run directory."""

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from distill.corpus.readers import rows_of
from distill.sft.config import ResolvedSFT, SFTConfig
from distill.sft.examples import Example, Renderer, Rendering, split_by_prompt, tokenised
from distill.sft.step import Objective, next_tokens
from distill.sft.trainer import SFTTrainer
from grpo.config.layers import build
from grpo.config.loading import to_yaml
from grpo.config.parsing import read_yaml
from grpo.config.sections import ConfigError
from grpo.model.loading import load_policy
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.ranks.session import joined
from grpo.ranks.settings import same_settings
from grpo.report.page import render
from grpo.runs import checkpoint, fingerprints
from grpo.runs.command import Settled
from grpo.runs.directory import CONFIG_FILE, SUMMARY, Say, claim
from grpo.runs.interrupt import StopFlag
from grpo.runs.log import RunLog
from rewards.printable import say


def run_sft(
    config: SFTConfig,
    output: Path,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    preface: Sequence[str] = (),
) -> dict[str, Any]:
    """Train in `output`, from its newest whole checkpoint if `resume`; returns what summary.json holds.

    `accept_changes`: go on with data or a model that changed since the checkpoint.
    The adapter in `output` is the best by validation loss, or the last where nothing is validated. Raises ConfigError
    or envs.DataError, one line, for what the user can put right, and Interrupted after saving.
    """
    return run(
        config,
        output,
        resume=resume,
        make_objective=lambda _policy, _folder: next_tokens,
        accept_changes=accept_changes,
        preface=preface,
    )


# what may differ when a run is resumed: how it is looked at and kept, not what is learned
FREE_TO_CHANGE = {"output", "save_every", "keep_checkpoints", "wandb_project", "trackio_project", "patience"}


MakeObjective = Callable[[Policy, Path], Objective]


def run(
    config: SFTConfig,
    output: Path,
    *,
    resume: bool,
    make_objective: MakeObjective,
    accept_changes: bool = False,
    preface: Sequence[str] = (),
    beside: Mapping[str, str | None] = MappingProxyType({}),
) -> dict[str, Any]:
    """Open the run directory, say the preface, train, write summary.json; see `distill.sft.run_sft`.

    `beside`: fingerprints of what the objective needs besides the data and the model.
    """
    with StopFlag() as stop, joined(stop, {"command": "distill.sft"}) as ranks:
        settled = same_settings(Settled(config, output), resume=resume)
        config, output = settled.config, settled.output
        if not ranks.writes:
            output.mkdir(parents=True, exist_ok=True)  # on a machine of its own
        with checkpoint.lock(output) if ranks.writes else contextlib.nullcontext():
            if resume and (done := ranks.from_first(lambda: _finished(config, output))) is not None:
                return dict(done)
            start = claim(config, output, resume=resume, say=say, free=FREE_TO_CHANGE) if ranks.writes else None
            log = RunLog(output)
            log.begin()
            heard = log.heard(say if ranks.writes else lambda _: None)
            for line in preface:
                heard(line)
            with log.failures():
                changes: dict[str, Any] = {"accept_changes": accept_changes, "beside": beside}
                trainer = _trainer(config, output, start, make_objective, heard, **changes)
                summary = trainer.train(stop)
            if ranks.writes:
                checkpoint.write_text(output / SUMMARY, json.dumps(summary, indent=1))
                checkpoint.write_text(output / "report.html", render([output]))
                heard(f"curves and settings: {output}/report.html   the adapter: {output}/adapters.safetensors")
    return summary


def _finished(config: SFTConfig, output: Path) -> dict[str, Any] | None:
    """Return the summary of a run that has made all its steps, after saying so; None if there is something to do."""
    try:
        done = checkpoint.read_object(output / SUMMARY)
        steps, of = int(done["steps"]), int(done["total_steps"])
    except (ConfigError, ValueError, KeyError, TypeError, OverflowError):
        return None
    recorded = build(type(config), read_yaml(output / CONFIG_FILE), source=str(output / CONFIG_FILE))
    if steps < of and recorded.patience != config.patience:
        return None
    claim(config, output, resume=True, say=lambda _: None, free=FREE_TO_CHANGE)  # refuses other settings
    why = "" if steps >= of else f", stopped by patience {recorded.patience}: another patience goes on"
    say(
        f"{output} is finished: {steps} of {of} steps{why}. For more begin a run of its own from this one's adapter: "
        f"adapter={output} --output NEW; to measure it: python -m grpo.evaluate {output} --data DATA"
    )
    return done


def _trainer(
    config: SFTConfig,
    output: Path,
    start: Path | None,
    make_objective: MakeObjective,
    say: Say,
    *,
    accept_changes: bool,
    beside: Mapping[str, str | None],
) -> SFTTrainer:
    """Load the model and the corpus; the config is written last, when nothing more can be refused."""
    policy = load_policy(config, config.model)
    train, validation, licences = _corpus(config, policy, say)
    now = {
        fingerprints.DATA: fingerprints.of_values((one.tokens, one.trained_mask) for one in (*train, *validation)),
        f"model {config.model}": fingerprints.of_model(config.model, config.revision),
        "the adapter that it starts from": config.adapter and fingerprints.of_folder(Path(config.adapter)),
        **beside,
    }
    here().require_same(now)
    made_of = fingerprints.compare(start, now, accept=accept_changes, say=say)
    recorded = config.model_copy(update={"output": str(output)})
    steps = config.total_steps or max(1, round(config.epochs * len(train) / config.examples_per_step))
    resolved = ResolvedSFT(**recorded.model_dump(include=set(SFTConfig.model_fields)), steps=steps)
    objective = make_objective(policy, output)
    trainer = SFTTrainer(resolved, policy, train, validation, output, objective=objective, resume_from=start)
    trainer.licences = licences
    trainer.state.fingerprints = made_of
    if here().writes:
        checkpoint.write_text(output / CONFIG_FILE, to_yaml(recorded))
    return trainer


def read_examples(
    settings: SFTConfig, policy: Policy, source: str, say: Say, **where: str | None
) -> tuple[list[Example], dict[str, int]]:
    """Return the examples of a corpus, rendered as `settings` say, and its rows by licence; print what was left out.

    `where` is the configuration and revision of a hub data set. ConfigError, one line, if no row gives an example.
    """
    rendering = Rendering(settings.template, settings.train_on, settings.system_prompt, settings.chat_template_kwargs)
    renderer = Renderer(policy.tokenizer, rendering)
    rows = list(itertools.islice(rows_of(source, **where), settings.max_rows))
    examples, skipped = tokenised(rows, renderer, max_length=settings.max_length)
    for line in skipped[:3]:
        say(f"  left out {line}")
    if len(skipped) > 3:
        say(f"  left out {len(skipped)} examples in all")
    if not examples:
        raise ConfigError(f"data {source}: none of its {len(rows)} rows gives an example, e.g. {skipped[0]}")
    for note in renderer.notes():
        say(f"  {note}")
    return examples, Counter(filter(None, map(_licence, rows)))


def _corpus(config: SFTConfig, policy: Policy, say: Say) -> tuple[list[Example], list[Example], dict[str, int]]:
    """Return training and validation examples and the licences of the rows; print what was left out."""
    where = {"config": config.data_config, "revision": config.data_revision}
    examples, licences = read_examples(config, policy, config.data, say, **where)
    if config.validation_data is None:
        return *split_by_prompt(examples, config.validation_share if config.eval_every else 0.0, config.seed), licences
    validation, more = read_examples(config, policy, config.validation_data, say)
    held_out = {example.prompt for example in validation}
    train = [example for example in examples if example.prompt not in held_out]
    if not train:
        raise ConfigError(f"data {config.data}: every prompt is also in validation_data: nothing is left to train on")
    return train, validation, Counter(licences) + Counter(more)


def _licence(place_and_row: tuple[str, Any]) -> str | None:
    """The licence that a row of a corpus gives."""
    row = place_and_row[1]
    found = row.get("licence") or row.get("license") if isinstance(row, Mapping) else None
    return found if isinstance(found, str) else None
