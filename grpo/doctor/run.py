"""The doctor's look at the run of a config: data, rewards, memory, disk, how much there is to do."""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from grpo.config import Config
from grpo.doctor.report import Report

if TYPE_CHECKING:
    from envs import Env
    from grpo.model.facts import ModelFacts
    from rewards import RewardSet

SPARE_DISK_BYTES = 500_000_000  # curves, completions and what else a run writes
FEW_TASKS, MANY_TIMES = 64, 4  # as many tasks, seen as often, are called memorised when the run is over
CHARACTERS_PER_TOKEN = 3  # a cautious guess for a prompt that is not tokenised here
TEMPLATE_TOKENS = {"chat": 60, "plain": 0, "r1_zero": 130}


def data(report: Report, config: Config) -> "Env | None":
    """The environment, its sizes, skipped rows and first task."""
    import envs

    try:
        env = envs.make(
            config.source, needs_answer=_needs_answer(config), **{"seed": config.seed, **config.data_options}
        )
    except envs.DataError as error:
        if "cannot be loaded by datasets" in str(error) and _from_hub(config):
            report.say(
                "warn", "data", f"{config.data_name}: a hub data set that is not here yet, fetched when training starts"
            )
        else:
            report.refuse("data", f"data {config.data_name}: {error}")
        return None
    sizes = ", ".join(f"{len(tasks)} {split}" for split, tasks in env.splits.items())
    if not env.splits.get("train"):
        report.refuse("data", f"data {config.data_name}: no task to train on ({sizes})")
        return None
    report.say("ok", "data", f"{config.data_name}: {sizes} tasks; the first: {_short(env.tasks('train')[0].prompt)}")
    if env.skipped:
        report.say("warn", "data", f"{len(env.skipped)} rows can't be used and are skipped, e.g. {env.skipped[0]}")
    for note in env.notes:
        report.say("warn", "data", note)
    if config.eval_every and not env.splits.get("test"):
        report.say("warn", "data", "eval_every is set but there are no held-out tasks: nothing will be evaluated")
    return env


def _needs_answer(config: Config) -> bool | None:
    """Return whether a reward of the config needs the column answer; None where they can't be made."""
    from grpo.opening import reward_set

    try:
        with reward_set(config) as made:
            return "answer" in made.required_columns
    except ValueError:  # said when it is the rewards' turn
        return None


def _from_hub(config: Config) -> bool:
    from envs.registry import HUB_ID, find, options_of

    if not isinstance(config.data, str):
        return False
    _, given = find(config.data)
    source = str(given.get("data") or options_of(config.data, **config.data_options).get("data", ""))
    return bool(HUB_ID.fullmatch(source)) and not Path(source).exists()


def _short(prompt: object) -> str:
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:80]} ..."


def rewards(report: Report, config: Config, env: "Env | None") -> None:
    """Every reward by its name and weight, after a call of each on the first task."""
    from grpo.opening import reward_set

    try:
        with reward_set(config) as made:
            _call_each(report, config, made, env)
    except ValueError as error:
        report.refuse("rewards", str(error))
        return
    report.say("ok", "rewards", " + ".join(f"{weight:g} {name}" for name, weight in config.reward_weights.items()))
    if "code" in config.reward_weights:
        from rewards.sandbox import choice

        report.say("ok", "sandbox", str(choice.describe()))
    judge = env.reward_names[0] if env is not None and env.reward_names else None
    if judge and not any(name.startswith(judge) for name in config.reward_weights):
        report.say(
            "warn", "rewards", f"{config.data_name} is meant for the reward {judge}: add reward_weights.{judge}=1.0"
        )
    if config.control != "none":
        report.say("warn", "control", f"{config.control}: it trains on coin flips, to see what no learning looks like")


def _call_each(report: Report, config: Config, made: "RewardSet", env: "Env | None") -> None:
    from grpo.runs.rehearsal import rehearse

    if env is None:
        return
    tried = rehearse(made, env.tasks("train")[0], max_completion_length=config.max_completion_length, env=env)
    if tried.refused:
        raise ValueError(tried.refused[0])
    for line in tried.failed:
        report.say("warn", "rewards", line)


def memory(report: Report, config: Config, facts: "ModelFacts | None", env: "Env | None") -> None:
    """Compare the memory the run needs with what there is, and name the key to change."""
    import mlx.core as mx

    from grpo.memory.available import available_bytes
    from grpo.memory.estimate import estimate, in_gb, knob
    from grpo.memory.plan import fitting_token_budget, longest_conversation

    if facts is None:
        report.say("warn", "memory", "the model's sizes are not known, so its memory can't be estimated")
        return
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    prompt = _longest_prompt(config, env)
    if env is not None and env.converses:
        config = config.model_copy(update={"max_completion_length": longest_conversation(config)})
    need = estimate(config, facts, on_cpu=on_cpu, prompt_tokens=prompt)
    there, _ = available_bytes()
    said = f"needs about {in_gb(need.total_bytes)} of {in_gb(there)}"
    if need.total_bytes > there:
        budget = fitting_token_budget(config, facts, there, on_cpu=on_cpu, prompt_tokens=prompt)
        fits = f" (token_budget={budget} would fit)" if budget else ""
        report.give_up("memory", f"{said}: try {knob(config, facts, need)}{fits}")
    elif need.total_bytes > 0.8 * there:
        report.say("warn", "memory", f"{said}, which is close: if it swaps, try {knob(config, facts, need)}")
    else:
        report.say("ok", "memory", said)
    for line in need.lines():
        print(f"{'':18}{line}")


def _longest_prompt(config: Config, env: "Env | None") -> int | None:
    """Tokens, guessed from characters; None without data."""
    if env is None:
        return None
    longest = max(len(str(task.prompt).encode()) for task in env.tasks("train")) + len(config.system_prompt or "")
    return longest // CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS[config.template]


def disk(report: Report, config: Config, facts: "ModelFacts | None") -> None:
    """Room for the checkpoints where the run will be written."""
    from grpo.memory.estimate import estimate, in_gb

    output = Path(config.output or "runs")
    existing = next(path for path in [output.absolute(), *output.absolute().parents] if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        report.refuse("output", f"output {output}: {existing} can't be written to")
        return
    for name, project in (("wandb", config.wandb_project), ("trackio", config.trackio_project)):
        if project and importlib.util.find_spec(name) is None:
            report.refuse(name, f"{name}_project is set but {name} is not installed: pip install 'grpo-mlx[{name}]'")
    free, need = shutil.disk_usage(existing).free, SPARE_DISK_BYTES
    if facts is not None:
        trained = estimate(config, facts, on_cpu=False).optimizer // 2
        need += 3 * trained * (config.keep_checkpoints + 2)  # weights and two moments; one being written, one published
    said = f"{in_gb(free)} free in {output}, the run writes up to about {in_gb(need)}"
    if free < need:
        report.give_up("disk", f"{said}: make room, or lower keep_checkpoints")
    else:
        report.say("ok", "disk", said)
    if (output / "config.yaml").exists():
        report.say("warn", "output", f"{output} holds a run already: add --resume to continue it, or choose another")


def work(report: Report, config: Config, env: "Env | None") -> None:
    """Report the number of steps, tasks and completions of the run."""
    said = (
        f"{config.steps} steps x {config.prompts_per_step} prompts x {config.num_generations} samples = "
        f"{config.steps * config.batch:,} completions of at most {config.max_completion_length} tokens"
    )
    few = False
    if env is not None:
        tasks = len(env.tasks("train"))
        times = config.steps * config.prompts_per_step / tasks
        said += f"; {times:,.0f} times through the tasks" if times >= 10 else f"; {times:.2g} times through the tasks"
        few = tasks <= FEW_TASKS and times >= MANY_TIMES
        said += f": {tasks} task(s) are too few, they are learned by heart" if few else ""
    report.say("warn" if few else "ok", "work", said)
