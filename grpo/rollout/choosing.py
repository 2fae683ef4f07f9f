"""Who samples, and in which order prompts come: the parts that a config puts in a trainer."""

from collections.abc import Callable, Sequence
from pathlib import Path

from envs import Env, Task
from grpo.algorithms.resolve import user_function
from grpo.algorithms.seams import GroupFilter
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.rollout.order import PromptOrder
from grpo.rollout.prompts import fitting
from grpo.rollout.remote.source import RemoteSource
from grpo.rollout.source import RolloutSource, engine
from grpo.rollout.stream import StreamOrder
from grpo.types import Prompt

Say = Callable[[str], None]


def order_of(
    env: Env, prompts: Sequence[Prompt], config: Config, policy: Policy, say: Say
) -> PromptOrder | StreamOrder:
    """Return the order of the prompts of an environment, whose `prompts` are the first of a stream."""
    if env.stream is None:
        return PromptOrder(prompts, config)

    def fit(task: Task) -> Prompt | None:
        return next(iter(fitting([task], policy.tokenizer, config, "train")[0]), None)

    return StreamOrder(env.stream, env.buffer, config, fit, say)


def longest_of(env: Env, prompts: Sequence[Prompt], config: Config) -> int:
    """Return the most tokens that a prompt may have: of a stream max_prompt_length."""
    return config.max_prompt_length if env.stream is not None else max(len(prompt.tokens) for prompt in prompts)


def filter_of(config: Config, given: GroupFilter | None) -> GroupFilter | None:
    """Return what dynamic sampling keeps, None = groups with spread: `given`, or what group_filter names."""
    name = config.group_filter
    return given or (None if name == "spread" else user_function("group_filter", name))


def source_of(config: Config, given: RolloutSource | None) -> RolloutSource:
    """Return who samples where no server does: `given`, or whom rollout_source names."""
    own = config.rollout_source
    return given or (engine if own == "engine" else user_function("rollout_source", own))


def remote_of(
    config: Config, policy: Policy, env: Env, output: Path, say: Say, version: int, prompt: Prompt
) -> RemoteSource | None:
    """Return the servers that sample, tried on a prompt, None where none does; ConfigError where they can't."""
    if config.rollout.url is None:
        return None
    if env.converses:
        raise ConfigError(f"data {config.data_name} answers, which needs the engine: leave rollout.url out")
    if here().size > 1:
        raise ConfigError(
            f"rollout.url needs one process, got {here().size}: the servers sample, and one process learns"
        )
    remote = RemoteSource(config, policy, output, say)
    remote.open(policy, version, prompt)
    return remote
