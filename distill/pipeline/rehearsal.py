"""`--dry-run`: the files, rewards and memory of every stage, looked at before anything runs.

Nothing is downloaded, no weights are loaded. What only an earlier stage will give is taken on trust.
"""

from dataclasses import replace
from typing import Any

from distill.dry_run import as_config, data_and_rewards, files, memory
from distill.pipeline.config import PipelineConfig, active, references_by_name, settings_of
from distill.pipeline.evaluation import rendering_of
from distill.pipeline.sections import Pruning
from distill.rejection.config import RejectionConfig
from distill.sft.config import SFTConfig
from envs import Env
from grpo.config import Config
from grpo.doctor.model import place_and_size
from grpo.doctor.report import Report
from grpo.doctor.run import data, rewards
from grpo.model.facts import ModelFacts, facts_of_settings
from rewards.printable import say

STAGE = "stage:"


def rehearse_pipeline(pipeline: PipelineConfig) -> int:
    """Say what is found for every stage; return 0, 2 where the user's input is wrong, 1 where the machine is short."""
    report = Report()
    facts: dict[str, ModelFacts | None] = {}
    say("held-out problems:")
    held_out = _data_and_rewards(report, rendering_of(pipeline.held_out, pipeline.seed))
    for one in pipeline.also_held_out:
        _data_and_rewards(report, rendering_of(one, pipeline.seed))
    for name, stage in active(pipeline).items():
        if stage.kind in ("evaluate", "miniature_rows"):
            continue
        say(f"\n{name} ({stage.kind}):")
        settings = settings_of(pipeline, name, references_by_name(pipeline, name))
        facts[name] = _facts(report, stage.kind, settings, facts.get(str(stage.start)))
        files(report, settings, STAGE)
        if isinstance(settings, Config | RejectionConfig):
            _data_and_rewards(report, as_config(settings), held_out)
        elif stage.kind == "rows":
            data(report, Config(data=settings.data, data_options=settings.data_options))
        if isinstance(settings, Config | RejectionConfig | SFTConfig):
            memory(report, settings, facts[name])
    if report.wrong_input:
        say(f"\nerror: {len(report.wrong_input)} faults, the first: {report.wrong_input[0]}")
        return 2
    if report.cannot_run:
        say(f"\nit can't run here: {report.cannot_run[0]}")
        return 1
    return 0


def _facts(report: Report, kind: str, settings: Any, start: ModelFacts | None) -> ModelFacts | None:
    """The sizes of a stage's model, from its files, its name or the stage it starts from."""
    from grpo.model.miniature import SHAPE, vocabulary

    if kind in ("miniature", "miniature_student"):
        shape = {**SHAPE, "vocab_size": len(vocabulary())}
        if kind == "miniature_student":
            width = settings.hidden_size
            blocks = settings.num_hidden_layers
            shape |= {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": blocks}
        return facts_of_settings(shape, item_bytes=4)
    if isinstance(settings, Pruning) and start is not None:
        # which blocks `keep` will leave is not known yet; they are alike in all but a few architectures
        blocks = settings.blocks if settings.blocks is not None else list(range(settings.keep or 0))
        kept = tuple(part for part in start.linears if part.block in blocks)
        lost = sum(part.inputs * part.outputs for part in start.linears) - sum(p.inputs * p.outputs for p in kept)
        return replace(start, blocks=len(blocks), linears=kept, parameters=start.parameters - lost,
                       float_values=max(0, start.float_values - lost))  # fmt: skip
    if kind != "model":
        return start
    return place_and_size(report, settings.model)


def _data_and_rewards(report: Report, config: Config, otherwise: Env | None = None) -> Env | None:
    """Open the tasks and call each reward on the first; on one of `otherwise` where the tasks are yet to be made."""
    if isinstance(config.data, str) and config.data.startswith(STAGE):
        report.say("ok", "data", f"from {config.data.removeprefix(STAGE)}")
        env = otherwise
        if env is not None:
            rewards(report, config, env)
        return env
    return data_and_rewards(report, config)
