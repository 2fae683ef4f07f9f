"""Open a run: its directory and checkpoint, its tasks, rewards and model.

`grpo.train` is the command around it.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import envs
from grpo.config import Config
from grpo.config.loading import to_yaml
from grpo.config.sections import ConfigError
from grpo.cpu import switch
from grpo.model import miniature
from grpo.model.adapter_files import files_of
from grpo.model.loading import load_policy
from grpo.model.policy import ADAPTER_CONFIG, Policy
from grpo.model.targets import described
from grpo.ranks import here
from grpo.runs import checkpoint, fingerprints
from grpo.runs.directory import CONFIG_FILE, Say, claim
from grpo.runs.interrupt import StopFlag
from grpo.runs.log import RunLog
from grpo.runs.rehearsal import rehearse
from grpo.trainer import Trainer
from rewards import RewardSet

IN_MEMORY = "in memory: "  # begins the name of what a run from Python was given, and no config can load
MINIATURE, RECIPE, START = "miniature", "cold_start.json", "start_adapter"


def open_run(
    config: Config,
    output: Path,
    *,
    resume: bool,
    say: Say,
    stop: StopFlag,
    accept_changes: bool = False,
    make: Callable[..., Trainer] = Trainer,
    origins: Mapping[str, str] | None = None,
    beside: Mapping[str, str | None] = MappingProxyType({}),
    preface: Sequence[str] = (),
) -> Trainer:
    """Return a trainer ready to train in `output`, from its newest whole checkpoint if `resume`.

    `make` is Trainer, or what gives a kind of it when called the same way. `origins` names the source of every key that
    was given, so that a refusal can say what to take back; `preface` is said once the directory is this run's.
    `accept_changes`: go on with data, rewards or a model that changed since the checkpoint; `beside`: fingerprints of
    what the config's kind needs besides these (a teacher). Raises ConfigError or
    envs.DataError, one line, for anything the user can put right; nothing of an earlier run is lost.
    """
    _refuse_in_memory(config, output)
    if not here().writes:
        say = _say_nothing
        output.mkdir(parents=True, exist_ok=True)  # on a machine of its own
    start = claim(config, output, resume=resume, say=say, origins=origins) if here().writes else None
    log = RunLog(output)
    log.begin()
    for line in preface:
        log.heard(say)(line)
    with log.failures():
        return _open(config, output, start, log.heard(say), stop, make, accept_changes, beside)


def _open(
    config: Config,
    output: Path,
    start: Path | None,
    say: Say,
    stop: StopFlag,
    make: Callable[..., Trainer],
    accept_changes: bool,
    beside: Mapping[str, str | None],
) -> Trainer:
    if switch.plain():
        say(switch.SAID)
    rewards = reward_set(config)
    env = tasks(config, say, rewards)
    if here().sharded and env.converses:
        raise ConfigError(
            f"tensor_parallel: data {config.data_name} answers, and replies come at other times on every rank; use "
            "processes that hold the whole model"
        )
    try_rewards(rewards, env, env.tasks("train"), config, output, say, stop)
    own = here().first_before_others(lambda: _with_own_start(config, output))
    path = model_path(config, output, say, stop)
    try:
        policy = load_policy(own, path)
    except ConfigError as error:  # of the run's copy, which the user has not named
        raise ConfigError(str(error).replace(str(own.adapter), str(config.adapter))) from error
    found = {**_made_of(config, env, path, own.adapter), **beside}
    here().require_same(found)
    made_of = fingerprints.compare(start, found, accept=accept_changes, say=say)
    for note in rewards.notes:
        say(f"  note: {note}")
    say(f"model {config.model}: {_millions(policy)}; {_sharing(policy)}")
    if policy.adapters:
        say(described(policy.model))
    trainer = make(config, policy, env, rewards, output, resume_from=start)
    trainer.state.fingerprints = made_of
    say(trainer.memory_plan.said)
    # last, when nothing more can be refused: a directory with a config in it holds a run
    if here().writes:
        checkpoint.write_text(output / CONFIG_FILE, to_yaml(config.model_copy(update={"output": str(output)})))
    return trainer


def _made_of(config: Config, env: envs.Env, path: str, adapter: str | None) -> dict[str, str | None]:
    """The fingerprints of what a config names; `path` and `adapter` are where its model and adapter lie."""
    model = "the miniature" if config.model == MINIATURE else f"model {config.model}"
    return {
        fingerprints.DATA: fingerprints.of_tasks(env),
        model: fingerprints.of_model(path, config.revision),
        "the adapter that it starts from": None if adapter is None else fingerprints.of_folder(Path(adapter)),
        **fingerprints.of_rewards(config.reward_weights),
    }


def _say_nothing(_: str) -> None:
    pass


def _refuse_in_memory(config: Config, output: Path) -> None:
    for key in ("data", "model"):
        given = getattr(config, key)
        if isinstance(given, str) and given.startswith(IN_MEMORY):
            raise ConfigError(
                f"{output} is a run from Python, whose {key} was given there ({given}): go on with it there, by "
                f"train(resume=True), or give {key}="
            )


def tasks(config: Config, say: Say, rewards: RewardSet) -> envs.Env:
    """Return the environment of a config; print how many tasks it has, what was left out and why.

    A row without a reference answer is left out only if a reward needs one.
    """
    options = {"seed": config.seed, **config.data_options}
    needs = "answer" in rewards.required_columns
    env = envs.make(config.source, needs_answer=needs, in_order=not config.shuffle_dataset, **options)
    counts, *lines = env.report()
    say(f"data {config.data_name}: {counts}")
    for line in lines:
        say(f"  {line}")
    return env


def reward_set(config: Config, functions: Mapping[str, Callable[..., Any]] | None = None) -> RewardSet:
    """The rewards of a config; an unknown one, or none at all, is a ConfigError."""
    if not any(config.reward_weights.values()):
        raise ConfigError("no reward: at least one needs a weight other than 0, or nothing is learned")
    try:
        return RewardSet(
            config.reward_weights,
            config.reward_options,
            config.reward_timeout_seconds,
            functions=functions,
            gates=config.reward_gates,
            clip=config.reward_clip,
            process=config.reward_process,
            missing=config.missing_rewards,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def try_rewards(
    rewards: RewardSet,
    env: envs.Env,
    tasks: Sequence[envs.Task],
    config: Config,
    output: Path,
    say: Say,
    stop: StopFlag,
) -> None:
    """Call every reward once; ConfigError for one that can't work, a warning for one that failed this time."""
    if not tasks:
        return
    tried = rehearse(rewards, tasks[0], max_completion_length=config.max_completion_length, check=stop.check, env=env)
    for traceback in tried.tracebacks:
        RunLog(output).write(traceback)
    if tried.refused:
        rewards.close()
        raise ConfigError(tried.refused[0])
    for line in tried.failed:
        say(f"  warning: {line}")


def model_path(config: Config, output: Path, say: Say, stop: StopFlag) -> str:
    """Return the model's path; the miniature is made first, unless this run has made it before."""
    if config.model != "miniature":
        return config.model
    return here().first_before_others(lambda: _miniature(config, output, say, stop))


def _miniature(config: Config, output: Path, say: Say, stop: StopFlag) -> str:
    folder = output / MINIATURE
    recipe = json.dumps({"seed": config.seed, **config.cold_start.model_dump()})
    if not (folder / RECIPE).exists() or (folder / RECIPE).read_text() != recipe:
        say(f"making the miniature model: {config.cold_start.steps} supervised steps on imperfect chains of thought")
        partial = output / f".partial_{MINIATURE}"

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
    if not (output / CONFIG_FILE).exists() or not (folder / ADAPTER_CONFIG).exists():
        files = files_of(config.adapter)
        shutil.rmtree(folder, ignore_errors=True)  # of a start that was refused
        folder.mkdir(exist_ok=True)
        for source in files:
            shutil.copyfile(source, folder / source.name)
    return config.model_copy(update={"adapter": str(folder)})


def _millions(policy: Policy) -> str:
    from mlx.utils import tree_flatten

    trained = sum(leaf.size for leaf in policy.trainable().values())
    total = sum(leaf.size for leaf in dict(tree_flatten(policy.model.parameters())).values())
    return f"{total / 1e6:.2f}M parameters, {trained / 1e6:.2f}M of them trained ({policy.fine_tune})"


def _sharing(policy: Policy) -> str:
    if policy.shares_prefixes:
        return "each prompt is computed once for its group"
    return (
        "this architecture can't share a prompt between completions, every row carries its own (slower): "
        f"{policy.sharing_refused}"
    )
