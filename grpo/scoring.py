"""Rewards of groups, worked out while the rest of the batch is still being decoded."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from grpo.config import Config
from grpo.types import Group
from rewards import RewardSet, Scores


@dataclass(frozen=True)
class GroupScores:
    """Rewards of one group; every list is [samples], None = no value for that completion."""

    values: dict[str, list[float | None]]
    totals: list[float | None]
    failures: dict[str, int]
    messages: list[str]


class Scorer:
    """Hands finished groups to the rewards in threads of its own; rewards that need processes have theirs."""

    def __init__(self, rewards: RewardSet) -> None:
        self.rewards = rewards
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
        conversation = not isinstance(task.prompt, str)
        scores: Scores = self.rewards.score(
            [task.prompt if conversation else group.prompt.text] * samples,
            [[{"role": "assistant", "content": text}] for text in texts] if conversation else texts,
            completion_ids=[list(rollout.tokens) for rollout in group.rollouts],
            columns={name: [value] * samples for name, value in task.columns.items()},
        )
        return GroupScores(scores.values, scores.totals, scores.failures, scores.messages)

    def close(self) -> None:
        """Drop what waits and free the rewards' workers."""
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
    """[prompts, samples]; NaN where a completion has no reward."""
    return np.array(
        [[np.nan if value is None else value for value in group.totals] for group in scored], dtype=np.float32
    )


def reward_metrics(scored: Sequence[GroupScores]) -> dict[str, float]:
    """rewards/NAME/mean and /std over the completions that have one, and rewards/FAILURE counts."""
    metrics: dict[str, float] = {}
    for name in scored[0].values:
        values = [value for group in scored for value in group.values[name] if value is not None]
        if values:
            metrics[f"rewards/{name}/mean"] = float(np.mean(values))
            metrics[f"rewards/{name}/std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    failures: Counter[str] = Counter()
    for group in scored:
        failures.update(group.failures)
    return metrics | {f"rewards/failed/{kind}": float(count) for kind, count in sorted(failures.items())}
