"""Groups from whoever samples, each handed to the rewards while others are still decoded."""

from concurrent.futures import Future

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.ranks import here
from grpo.rollout.source import RolloutInputs, RolloutSource, groups_of
from grpo.scoring import GroupScores, Scorer
from grpo.types import Group
from rewards import CallState


def gathered(
    source: RolloutSource, inputs: RolloutInputs, config: Config, scorer: Scorer, state: CallState
) -> tuple[list[Group], "list[Future[GroupScores]]"]:
    """Return the prompts' groups in their order, and their rewards to come; none where the whole step has one call."""
    groups: dict[int, Group] = {}
    pending: dict[int, Future[GroupScores]] = {}
    for index, group in groups_of(source, config.rollout_source, inputs):
        groups[index] = group
        _require_whole(group, config)
        if config.reward_batch == "group" and here().scores:
            pending[index] = scorer.submit(group, state)
    return [groups[index] for index in sorted(groups)], [pending[index] for index in sorted(pending)]


def _require_whole(group: Group, config: Config) -> None:
    """Refuse a group that rank 0 would have to score without its environments, which stay where they are."""
    made = any(rollout.dialogue is not None and rollout.dialogue.environment for rollout in group.rollouts)
    if made and config.reward_batch == "step" and here().processes > 1:
        raise ConfigError(
            "reward_batch must be group where several processes train with an environment_factory, got step: an "
            "environment cannot go to the process that scores the whole step"
        )
