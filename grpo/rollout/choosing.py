"""Who samples, and in which order prompts come: the parts that a config puts in a trainer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envs import Env, Task
from grpo.algorithms.resolve import user_function
from grpo.algorithms.seams import GroupFilter
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.ranks.ahead import AheadOverRanks, OwnShares, Share
from grpo.rollout.ahead import Ahead, Sampled
from grpo.rollout.filling import Filling
from grpo.rollout.order import OrderState, PromptOrder
from grpo.rollout.prompts import fitting
from grpo.rollout.remote.source import RemoteSource
from grpo.rollout.source import RolloutSource, engine
from grpo.rollout.stream import StreamOrder
from grpo.types import Prompt

if TYPE_CHECKING:
    from grpo.ranks.roles import SamplerRanks

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
    if here().sharded:
        raise ConfigError("rollout.url needs tensor_parallel false: the servers sample, by a model that is whole")
    remote = RemoteSource(config, policy, output, say)
    remote.open(policy, version, prompt)
    return remote


def samplers_of() -> "SamplerRanks | None":
    """Return the ranks that sample for those that learn, None where there are none."""
    if not here().samplers:
        return None
    from grpo.ranks.roles import SamplerRanks

    return SamplerRanks()


def ahead_of(
    config: Config, filling: Filling, fill: Callable[[OrderState, int], Sampled], share: Share
) -> Ahead | AheadOverRanks:
    """Return who gives a step's batch: sampler ranks, each rank beside its learning, or one process."""
    if (samplers := samplers_of()) is not None:
        return AheadOverRanks(filling, fill, samplers)
    if here().size > 1 and config.max_staleness:
        return AheadOverRanks(filling, fill, OwnShares(share))
    return Ahead(fill, max_staleness=config.max_staleness, steps=config.steps)
