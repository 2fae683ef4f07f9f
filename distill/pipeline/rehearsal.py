"""`--dry-run`: the files, rewards and memory of every stage, looked at before anything runs.

Nothing is downloaded, no weights are loaded. What only an earlier stage will give is taken on trust.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from distill.pipeline.config import PipelineConfig, active, references_by_name, settings_of
from distill.pipeline.evaluation import rendering_of
from distill.pipeline.sections import Pruning
from distill.rejection.config import RejectionConfig
from distill.rejection.samplers import rendering
from distill.sft.config import SFTConfig
from envs import Env
from grpo.config import Config
from grpo.doctor.model import model_folder
from grpo.doctor.report import Report
from grpo.doctor.run import data, rewards
from grpo.memory.available import available_bytes
from grpo.memory.estimate import PROCESS_BYTES, estimate, in_gb, knob
from grpo.model.facts import ModelFacts, facts_of_directory, facts_of_name, facts_of_settings
from grpo.runs.command import DATA_SUFFIXES

STAGE = "stage:"
FILES = ("data", "validation_data", "mix", "decontaminate", "adapter")


def rehearse_pipeline(pipeline: PipelineConfig) -> int:
    """Say what is found for every stage; return 0, 2 where the user's input is wrong, 1 where the machine is short."""
    report = Report()
    facts: dict[str, ModelFacts | None] = {}
    print("held-out problems:")
    held_out = _data_and_rewards(report, rendering_of(pipeline.held_out, pipeline.seed))
    for one in pipeline.also_held_out:
        _data_and_rewards(report, rendering_of(one, pipeline.seed))
    for name, stage in active(pipeline).items():
        if stage.kind in ("evaluate", "miniature_rows"):
            continue
        print(f"\n{name} ({stage.kind}):")
        settings = settings_of(pipeline, name, references_by_name(pipeline, name))
        facts[name] = _facts(report, stage.kind, settings, facts.get(str(stage.start)))
        _files(report, settings)
        if isinstance(settings, Config | RejectionConfig):
            _data_and_rewards(report, _as_config(settings), held_out)
        elif stage.kind == "rows":
            data(report, Config(data=settings.data, data_options=settings.data_options))
        if isinstance(settings, Config | RejectionConfig | SFTConfig):
            _memory(report, settings, facts[name])
    if report.wrong_input:
        print(f"\nerror: {len(report.wrong_input)} faults, the first: {report.wrong_input[0]}")
        return 2
    if report.cannot_run:
        print(f"\nit can't run here: {report.cannot_run[0]}")
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
        kept = tuple(part for part in start.linears if part.block in settings.blocks)
        lost = sum(part.inputs * part.outputs for part in start.linears) - sum(p.inputs * p.outputs for p in kept)
        return replace(start, blocks=len(settings.blocks), linears=kept, parameters=start.parameters - lost,
                       float_values=max(0, start.float_values - lost))  # fmt: skip
    if kind != "model":
        return start
    return _model(report, settings.model)


def _model(report: Report, name: str) -> ModelFacts | None:
    folder = model_folder(Config(model=name))
    try:
        if folder is not None:
            found = facts_of_directory(folder)
            report.say("ok", "model", f"{name}: {found.parameters / 1e6:.0f}M parameters, {found.blocks} blocks")
            return found
    except ValueError as error:
        report.refuse("model", f"model {name}: {error}")
        return None
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        report.refuse("model", f"model {name}: no such directory, and no hub id (owner/name) either")
        return None
    known = facts_of_name(name)
    size = f"about {in_gb(known.stored_bytes)}" if known else "of a size that is not known here"
    report.say("warn", "model", f"{name}: not in the local hub cache, will be downloaded ({size})")
    return known


def _files(report: Report, settings: Any) -> None:
    """Every local file or directory that a stage names must be there."""
    for key in FILES:
        named = getattr(settings, key, None)
        for one in named if isinstance(named, list) else [named]:
            if isinstance(one, str) and not one.startswith(STAGE) and _is_local(one) and not Path(one).exists():
                report.refuse(key, f"{key} {one}: no such file or directory")


def _is_local(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.endswith(DATA_SUFFIXES)


def _as_config(settings: Config | RejectionConfig) -> Config:
    """What opens a stage's tasks and calls its rewards."""
    if isinstance(settings, Config):
        return settings
    judged = {} if settings.judge is None else {"judge": settings.judge}
    return rendering(settings).model_copy(
        update={
            "data": settings.data,
            "data_options": settings.data_options,
            "reward_weights": dict.fromkeys([*settings.rewards, *judged], 1.0),
            "reward_options": {**settings.reward_options, **judged},
            "max_completion_length": settings.max_completion_length,
        }
    )


def _data_and_rewards(report: Report, config: Config, otherwise: Env | None = None) -> Env | None:
    """Open the tasks and call each reward on the first; on one of `otherwise` where the tasks are yet to be made."""
    if isinstance(config.data, str) and config.data.startswith(STAGE):
        report.say("ok", "data", f"from {config.data.removeprefix(STAGE)}")
        env = otherwise
    elif isinstance(config.data, str) and _is_local(config.data) and not Path(config.data).exists():
        return None  # said already
    else:
        env = data(report, config)
    if env is not None:
        rewards(report, config, env)
    return env


def _memory(report: Report, settings: Config | RejectionConfig | SFTConfig, facts: ModelFacts | None) -> None:
    """The most a stage takes, against what is free."""
    if facts is None:
        report.say("warn", "memory", "the model's sizes are not known, so its memory can't be estimated")
        return
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    config = _measured_as(settings)
    need = estimate(config, facts, on_cpu=on_cpu)
    part = need.sampling if isinstance(settings, RejectionConfig) else need.training
    total = need.always + PROCESS_BYTES + (max(part, need.sampling) if isinstance(settings, Config) else part)
    there, kind = available_bytes()
    said = f"at most about {in_gb(total)} of {in_gb(there)} {kind}"
    if total > there:
        report.give_up("memory", f"{said}: try {knob(config, facts, need)}")
    else:
        report.say("ok", "memory", said)


def _measured_as(settings: Config | RejectionConfig | SFTConfig) -> Config:
    """The RL config that takes as much: rejection samples like its rollout, SFT learns like its micro-batches."""
    if isinstance(settings, Config):
        return settings
    if isinstance(settings, RejectionConfig):
        return Config(
            num_generations=max(2, settings.samples),
            prompts_per_step=settings.chunk_prompts,
            max_rows=settings.max_rows,
            max_completion_length=settings.max_completion_length,
            max_prompt_length=settings.max_prompt_length,
            dtype=settings.dtype,
        )
    length = min(settings.max_length, settings.token_budget)
    return Config(
        fine_tune="full" if settings.fine_tune == "full" else "lora",
        lora=settings.lora,
        token_budget=settings.token_budget,
        max_completion_length=length,
        max_prompt_length=1,
        gradient_checkpointing=settings.gradient_checkpointing,
        beta=0.0,
        dtype=settings.dtype,
    )
