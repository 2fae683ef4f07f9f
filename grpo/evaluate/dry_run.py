"""`--dry-run` of an evaluation: look at what it names and call each reward once; sample nothing, write nothing."""

from pathlib import Path

from envs import DataError
from grpo.config.sections import ConfigError
from grpo.doctor.model import model
from grpo.doctor.report import Report
from grpo.evaluate.run import Wish, asked_tasks, require_same, server_source
from grpo.model.adapter_files import files_of
from grpo.opening import reward_set, tasks
from grpo.runs.command import refuse
from grpo.runs.rehearsal import rehearse
from rewards.printable import say


def dry_run(wish: Wish, output: Path, go_on: str) -> int:
    """Say what would be evaluated; return 0, or 2 where something that the command names can't be used.

    `go_on` is the command without --dry-run.
    """
    config, report = wish.config, Report()
    if wish.server is None:
        model(report, config, trains=False)
    else:
        report.say("ok", "server", f"{wish.server}, which calls the model {config.model}; it was not asked")
    for item, look in (
        ("adapter", _adapter),
        ("tasks", _tasks),
        ("output", lambda _, wish: require_same(wish, output)),
    ):
        try:
            look(report, wish)
        except (ConfigError, DataError) as error:
            report.refuse(item, str(error))
    if report.wrong_input:
        return refuse(ConfigError(report.wrong_input[0]))
    say(f"\nready: {go_on}")
    return 0


def _adapter(report: Report, wish: Wish) -> None:
    if wish.adapter is not None:
        weights, _ = files_of(wish.adapter)
        report.say("ok", "adapter", str(weights))


def _tasks(report: Report, wish: Wish) -> None:
    config = wish.config
    with reward_set(config) as rewards:
        env = tasks(config, lambda _: None, rewards)
        chosen = asked_tasks(wish, env)
        if wish.server is not None:
            server_source(wish, env, chosen)
        sizes = f"{len(chosen)} tasks x {config.eval_samples} samples of at most {config.max_completion_length} tokens"
        report.say("ok", "data", f"{config.data_name}: {sizes}")
        for line in env.report()[1:]:
            report.say("warn", "data", line.strip())
        tried = rehearse(rewards, chosen[0], max_completion_length=config.max_completion_length, env=env)
    for line in tried.failed:
        report.say("warn", "rewards", line)
    if tried.refused:
        raise ConfigError(tried.refused[0])
    report.say("ok", "rewards", " + ".join(f"{weight:g} {name}" for name, weight in config.reward_weights.items()))
