"""Opening a run.

Its directory, what it is resumed from, its tasks, rewards and model. `grpo.train` is the command around it.
"""

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

import envs
from grpo import checkpoint, miniature
from grpo.config import Config, ConfigError, Section, build, read_yaml, to_yaml
from grpo.interrupt import StopFlag
from grpo.policy import ADAPTER_CONFIG, ADAPTER_FILE, Policy, load_policy
from grpo.trainer import Trainer
from rewards import RewardSet

CONFIG_FILE, MINIATURE, RECIPE, START = "config.yaml", "miniature", "cold_start.json", "start_adapter"
# what may differ when a run is resumed: how long it is, what is looked at and kept, not what is learned
FREE_TO_CHANGE = {"output", "steps", "save_every", "keep_checkpoints", "completions_every", "wandb_project"}

Say = Callable[[str], None]


def open_run(
    config: Config, output: Path, *, resume: bool, say: Say, stop: StopFlag, make: Callable[..., Trainer] = Trainer
) -> Trainer:
    """A trainer ready to train in `output`, from its newest whole checkpoint if `resume`.

    `make` is Trainer, or what gives a kind of it when called the same way. Raises ConfigError or envs.DataError, one
    line, for anything the user can put right; nothing of an earlier run is lost.
    """
    start = claim(config, output, resume=resume, say=say)
    env, rewards = tasks(config, say), reward_set(config)
    policy = load_policy(_with_own_start(config, output), model_path(config, output, say, stop))
    say(f"model {config.model}: {_millions(policy)}; {_sharing(policy)}")
    trainer = make(config, policy, env, rewards, output, resume_from=start)
    say(trainer.memory_plan.said)
    # last, when nothing more can be refused: a directory with a config in it holds a run
    checkpoint.write_text(output / CONFIG_FILE, to_yaml(config.model_copy(update={"output": str(output)})))
    return trainer


def tasks(config: Config, say: Say) -> envs.Env:
    """The environment of a config; what was skipped is said."""
    env = envs.make(config.data, **{"seed": config.seed, **config.data_options})
    for line in env.skipped[:3]:
        say(f"  skipped {line}")
    if len(env.skipped) > 3:
        say(f"  skipped {len(env.skipped)} rows in all")
    for note in env.notes:
        say(f"  note: {note}")
    return env


def reward_set(config: Config, functions: Mapping[str, Callable[..., Any]] | None = None) -> RewardSet:
    """The rewards of a config; an unknown one is a ConfigError."""
    try:
        return RewardSet(
            config.reward_weights,
            config.reward_options,
            config.reward_timeout_seconds,
            functions=functions,
            gates=config.reward_gates,
            clip=config.reward_clip,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def claim(
    config: Section, output: Path, *, resume: bool, say: Say, free: Collection[str] = FREE_TO_CHANGE
) -> Path | None:
    """Check that the directory may be written by this run; the checkpoint to go on from, if there is one.

    `free` are the keys that a resumed run may change.
    """
    if not (output / CONFIG_FILE).exists():
        return None
    if not resume:
        raise ConfigError(
            f"output {output} holds a run already: add --resume to go on with it, or choose another --output"
        )
    saved = build(type(config), read_yaml(output / CONFIG_FILE), source=str(output / CONFIG_FILE)).model_dump(
        mode="json"
    )
    mine = yaml.safe_load(to_yaml(config))
    changed = sorted(key for key in mine if key not in free and mine[key] != saved[key])
    if changed:
        raise ConfigError(
            f"can't resume {output} with other settings: {changed[0]} was {saved[changed[0]]!r}, "
            f"now {mine[changed[0]]!r}"
            + (f" (and {len(changed) - 1} more: {', '.join(changed[1:4])})" if len(changed) > 1 else "")
        )
    path, damaged = checkpoint.newest(output / "checkpoints")
    for line in damaged:
        say(f"  warning: {line}")
    if path is None:
        say(f"no checkpoint in {output} yet: starting from the beginning")
    else:
        say(f"resuming from {path}")
    return path


def model_path(config: Config, output: Path, say: Say, stop: StopFlag) -> str:
    """Where the model is; the miniature is made first, or found where this run has made it before."""
    if config.model != "miniature":
        return config.model
    folder = output / MINIATURE
    recipe = json.dumps({"seed": config.seed, **config.cold_start.model_dump()})
    if not (folder / RECIPE).exists() or (folder / RECIPE).read_text() != recipe:
        say(f"making the miniature model: {config.cold_start.steps} supervised steps on imperfect chains of thought")
        partial = output / f".partial_{MINIATURE}"
        shutil.rmtree(partial, ignore_errors=True)

        def on_step(step: int, loss: float) -> None:
            stop.check()
            if step % 40 == 0 or step == config.cold_start.steps:
                say(f"  cold start {step}/{config.cold_start.steps}  loss {loss:.3f}")

        miniature.build(partial, config.cold_start, config.seed, on_step)
        (partial / RECIPE).write_text(recipe)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return str(folder)


def _with_own_start(config: Config, output: Path) -> Config:
    """A run that starts from an adapter keeps a copy of it: the reference of a resumed run must be the same."""
    if config.adapter is None:
        return config
    folder = output / START
    if not (folder / ADAPTER_CONFIG).exists():
        folder.mkdir(exist_ok=True)
        for name in (ADAPTER_FILE, ADAPTER_CONFIG):
            source = Path(config.adapter) / name
            if not source.exists():
                shutil.rmtree(folder)
                raise ConfigError(f"adapter {config.adapter}: no {name} there")
            shutil.copyfile(source, folder / name)
    return config.model_copy(update={"adapter": str(folder)})


def _millions(policy: Policy) -> str:
    from mlx.utils import tree_flatten

    trained = sum(leaf.size for leaf in policy.trainable().values())
    total = sum(leaf.size for leaf in dict(tree_flatten(policy.model.parameters())).values())
    return f"{total / 1e6:.2f}M parameters, {trained / 1e6:.2f}M of them trained ({policy.fine_tune})"


def _sharing(policy: Policy) -> str:
    if policy.shares_prefixes:
        return "each prompt is computed once for its group"
    return "this architecture can't share a prompt between completions, every row carries its own (slower)"
