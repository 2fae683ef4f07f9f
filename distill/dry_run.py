"""`--dry-run` of the commands here: their files, model, memory, rewards and rows, looked at before anything runs.

Nothing is downloaded by it, no weights are loaded, nothing is written.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.rejection.config import RejectionConfig
from distill.sft.config import SFTConfig
from envs import DataError, Env
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.doctor.model import place_and_size
from grpo.doctor.report import Report
from grpo.doctor.run import data, rewards
from grpo.memory.available import available_bytes
from grpo.memory.estimate import PROCESS_BYTES, estimate, in_gb, knob
from grpo.model.facts import ModelFacts
from grpo.runs.command import Settled, refuse
from rewards.printable import say

Settings = Config | RejectionConfig | SFTConfig
FILES = ("data", "validation_data", "mix", "decontaminate", "adapter", "teacher_adapter")
DATA_SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
ROWS_LOOKED_AT = 1000


def dry_run(settled: Settled[Any], command: str, words: Sequence[str]) -> int:
    """Say what would be run; return 0, 2 where the user's input is wrong, 1 where the machine is short.

    `words` are those of the command line.
    """
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # look, don't download
        os.environ.setdefault(variable, "1")
    from grpo.cpu.blas import load_blas

    load_blas()  # before anything imports mlx
    for line in settled.lines():
        say(line)
    report, config = Report(), settled.config
    files(report, config)
    facts = None
    if getattr(config, "server", None) is not None:
        report.say("ok", "server", f"{config.server}, which calls the model {config.server_model}; it was not asked")
    else:
        facts = place_and_size(report, config.model)
    if getattr(config, "teacher", None) is not None:
        place_and_size(report, config.teacher, what="teacher")
    if isinstance(config, SFTConfig):
        rows(report, config)
    else:
        data_and_rewards(report, as_config(config))
    if getattr(config, "server", None) is None:
        memory(report, config, facts)
    if report.wrong_input:
        return refuse(ConfigError(report.wrong_input[0]))
    if report.cannot_run:
        say(f"\nit can't run here as it is: {report.cannot_run[0]}")
        return 1
    told = shlex.join(word for word in words if word != "--dry-run")
    say(f"\nready to run in {settled.output}: python -m {command} {told}".rstrip())
    return 0


def files(report: Report, settings: Any, given: str = "") -> None:
    """Every local file or directory that the settings name must be there; those that begin with `given` will be."""
    for key in FILES:
        named = getattr(settings, key, None)
        for one in named if isinstance(named, list) else [named]:
            if not isinstance(one, str) or (given and one.startswith(given)):
                continue
            if (is_local(one) or key.endswith("adapter")) and not Path(one).expanduser().exists():
                report.refuse(key, f"{key} {one}: no such file or directory")


def is_local(name: str) -> bool:
    """Return whether a name can only be one of a file or directory."""
    return name.startswith((".", "/", "~")) or name.endswith(DATA_SUFFIXES)


def rows(report: Report, config: SFTConfig) -> None:
    """Read the first rows of a corpus as messages."""
    from distill.corpus.readers import messages_of, rows_of

    if not is_local(config.data):
        report.say("warn", "data", f"{config.data}: a hub data set, fetched when training starts")
        return
    if not Path(config.data).expanduser().exists():
        return  # said already
    read, faults = 0, []
    try:
        for number, (place, row) in enumerate(rows_of(config.data), start=1):
            try:
                messages_of(row)
                read += 1
            except ValueError as error:
                faults.append(f"{place}: {error}")
            if number == min(ROWS_LOOKED_AT, config.max_rows or ROWS_LOOKED_AT):
                break
    except DataError as error:
        report.refuse("data", str(error))
        return
    if not read:
        report.refuse("data", f"data {config.data}: none of its {len(faults)} rows can be read, e.g. {faults[:1]}")
        return
    report.say("ok", "data", f"{config.data}: {read} rows of the first {read + len(faults)} can be read")
    if faults:
        report.say("warn", "data", f"{len(faults)} rows will be left out, e.g. {faults[0]}")


def as_config(settings: Config | RejectionConfig) -> Config:
    """Return what opens the tasks of the settings and calls their rewards."""
    if isinstance(settings, Config):
        return settings
    from distill.rejection.samplers import rendering

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


def data_and_rewards(report: Report, config: Config) -> Env | None:
    """Open the tasks and call each reward on the first."""
    if isinstance(config.data, str) and is_local(config.data) and not Path(config.data).expanduser().exists():
        return None  # said already
    env = data(report, config)
    if env is not None:
        rewards(report, config, env)
    return env


def memory(report: Report, settings: Settings, facts: ModelFacts | None) -> None:
    """Compare the most that the settings take with what is free."""
    import mlx.core as mx

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


def _measured_as(settings: Settings) -> Config:
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
