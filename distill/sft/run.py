"""Run supervised fine-tuning in a run directory."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.corpus.readers import rows_of
from distill.sft.config import ResolvedSFT, SFTConfig
from distill.sft.examples import Example, Renderer, Rendering, split_by_prompt, tokenised
from distill.sft.step import Objective, next_tokens
from distill.sft.trainer import SFTTrainer
from grpo.config.loading import to_yaml
from grpo.config.sections import ConfigError
from grpo.model.loading import load_policy
from grpo.model.policy import Policy
from grpo.report.page import render
from grpo.runs import checkpoint, fingerprints
from grpo.runs.command import say
from grpo.runs.directory import CONFIG_FILE, claim
from grpo.runs.interrupt import StopFlag


def run_sft(config: SFTConfig, output: Path, *, resume: bool = False, accept_changes: bool = False) -> dict[str, Any]:
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
    )


# what may differ when a run is resumed: how it is looked at and kept, not what is learned
FREE_TO_CHANGE = {"output", "save_every", "keep_checkpoints", "wandb_project", "trackio_project", "patience"}


MakeObjective = Callable[[Policy, Path], Objective]


def run(
    config: SFTConfig, output: Path, *, resume: bool, make_objective: MakeObjective, accept_changes: bool = False
) -> dict[str, Any]:
    """Open the run directory, train, write summary.json; see `distill.sft.run_sft`."""
    with checkpoint.lock(output), StopFlag() as stop:
        start = claim(config, output, resume=resume, say=say, free=FREE_TO_CHANGE)
        policy = load_policy(config, config.model)
        train, validation = _corpus(config, policy)
        now = {
            fingerprints.DATA: fingerprints.of_values((one.tokens, one.trained_mask) for one in (*train, *validation)),
            f"model {config.model}": fingerprints.of_model(config.model, config.revision),
            "the adapter that it starts from": config.adapter and fingerprints.of_folder(Path(config.adapter)),
        }
        made_of = fingerprints.compare(start, now, accept=accept_changes, say=say)
        recorded = config.model_copy(update={"output": str(output)})
        steps = config.total_steps or max(1, round(config.epochs * len(train) / config.examples_per_step))
        resolved = ResolvedSFT(**recorded.model_dump(include=set(SFTConfig.model_fields)), steps=steps)
        objective = make_objective(policy, output)
        trainer = SFTTrainer(resolved, policy, train, validation, output, objective=objective, resume_from=start)
        trainer.state.fingerprints = made_of
        checkpoint.write_text(output / CONFIG_FILE, to_yaml(recorded))
        summary = trainer.train(stop)
        checkpoint.write_text(output / "summary.json", json.dumps(summary, indent=1))
        checkpoint.write_text(output / "report.html", render([output]))
    return summary


def _corpus(config: SFTConfig, policy: Policy) -> tuple[list[Example], list[Example]]:
    """Return training and validation examples; print what was left out."""
    rendering = Rendering(config.template, config.train_on, config.system_prompt, config.chat_template_kwargs)
    renderer = Renderer(policy.tokenizer, rendering)

    def read(source: str, **where: str | None) -> list[Example]:
        rows = list(itertools.islice(rows_of(source, **where), config.max_rows))
        examples, skipped = tokenised(rows, renderer, max_length=config.max_length)
        for line in skipped[:3]:
            say(f"  left out {line}")
        if len(skipped) > 3:
            say(f"  left out {len(skipped)} examples in all")
        if not examples:
            raise ConfigError(f"data {source}: none of its {len(rows)} rows gives an example, e.g. {skipped[0]}")
        for note in renderer.notes():
            say(f"  {note}")
        return examples

    examples = read(config.data, config=config.data_config, revision=config.data_revision)
    if config.validation_data is None:
        return split_by_prompt(examples, config.validation_share if config.eval_every else 0.0, config.seed)
    validation = read(config.validation_data)
    held_out = {example.prompt for example in validation}
    train = [example for example in examples if example.prompt not in held_out]
    if not train:
        raise ConfigError(f"data {config.data}: every prompt is also in validation_data: nothing is left to train on")
    return train, validation
