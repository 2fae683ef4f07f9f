"""Sum the rewards of an environment's own replies over the turns of a conversation."""

from collections.abc import Mapping, Sequence

from rewards.base import Completion, Reward


def factory() -> Reward:
    """The reward `environment`: everything that the replies of a conversation gave, summed up; None for one turn."""

    def environment(
        completions: Sequence[Completion],
        turn_rewards: Sequence[Sequence[Mapping[str, float]]] | None = None,
        **columns: object,
    ) -> list[float | None]:
        if turn_rewards is None:
            return [None] * len(completions)
        return [sum(sum(turn.values()) for turn in turns) if turns else None for turns in turn_rewards]

    return environment
