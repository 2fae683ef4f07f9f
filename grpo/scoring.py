"""Rewards of groups, worked out while the rest of the batch is still being decoded."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from grpo.config import Config
from grpo.types import Group
from rewards import RewardSet, Scores


@dataclass(frozen=True)
class GroupScores:
    """Rewards of one group; every list is [samples], None = no value for that completion."""

    values: dict[str, list[float | None]]  # as measured
    totals: list[float | None]
    failures: dict[str, int]  # "NAME/KIND" -> completions
    messages: dict[str, str]  # "NAME/OUTCOME" -> one line
    counted: dict[str, list[float | None]] = field(default_factory=dict)  # clipped and gated: what the totals sum
    applied: dict[str, int] = field(default_factory=dict)  # "NAME/clipped", "NAME/gated" -> completions


class Scorer:
    """Hands finished groups to the rewards in threads of its own; rewards that need processes have theirs."""

    def __init__(self, rewards: RewardSet, max_completion_length: int | None = None) -> None:
        self.rewards, self.max_completion_length = rewards, max_completion_length
        self.threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="rewards")

    def submit(self, group: Group) -> "Future[GroupScores]":
        """Score a group in the background."""
        return self.threads.submit(self.score, group)

    def score(self, group: Group) -> GroupScores:
        """The rewards of a group's completions.

        Prompts and completions reach a reward as TRL hands them over: strings, or messages where the task is a
        conversation.
        """
        task, samples = group.prompt.task, len(group.rollouts)
        texts = [rollout.text for rollout in group.rollouts]
        columns = task.columns
        if self.max_completion_length is not None:  # what the length rewards measure against
            columns = {"max_completion_length": self.max_completion_length, **columns}
        conversation = not isinstance(task.prompt, str)
        scores: Scores = self.rewards.score(
            [task.prompt if conversation else group.prompt.text] * samples,
            [[{"role": "assistant", "content": text}] for text in texts] if conversation else texts,
            completion_ids=[list(rollout.tokens) for rollout in group.rollouts],
            columns={name: [value] * samples for name, value in columns.items()},
        )
        return GroupScores(
            scores.values, scores.totals, scores.failures, scores.messages, scores.counted, scores.applied
        )

    def close(self) -> None:
        """Drop pending groups and free the rewards' workers."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.rewards.close()


def coin_flips(config: Config, step: int) -> np.ndarray:
    """The control's rewards, [prompts, samples]: 0 or 1 whatever the completion says."""
    seeds = np.random.SeedSequence((config.seed, 99, step))
    return (
        np.random.default_rng(seeds)
        .integers(0, 2, (config.prompts_per_step, config.num_generations))
        .astype(np.float32)
    )


def totals(scored: Sequence[GroupScores]) -> np.ndarray:
    """Return summed rewards, [prompts, samples]; NaN where a completion has none."""
    return np.array(
        [[np.nan if value is None else value for value in group.totals] for group in scored], dtype=np.float32
    )


def counted_rewards(scored: Sequence[GroupScores], weights: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """[rewards, prompts, samples] of what counts, NaN where there is no value, and the weights [rewards].

    Rewards of weight 0 are left out.
    """
    names = [name for name in scored[0].counted if weights[name]]
    values = [[group.counted[name] for group in scored] for name in names]
    return np.array(values, dtype=np.float32), np.array([weights[name] for name in names], dtype=np.float32)
