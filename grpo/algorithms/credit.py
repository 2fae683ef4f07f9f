"""From rewards to the credit of each completion or token, through the estimator of a run."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.scoring import GroupScores, counted_rewards
from grpo.types import AdvantageFunction, AdvantageInputs, Credit, Group


def credit_of(
    estimator: AdvantageFunction,
    config: Config,
    groups: Sequence[Group],
    scored: Sequence[GroupScores],
    rewards: np.ndarray,
) -> list[list[Credit]]:
    """Return the credit of every completion, [prompts][samples]: a number, or one a token.

    ConfigError if the estimator's result has another shape or is not finite where there is a reward.
    """
    inputs = _inputs(config, groups, scored, rewards)
    lengths = np.array(inputs.lengths).astype(int)
    result = estimator(inputs)
    values = np.array(result.astype(mx.float32) if isinstance(result, mx.array) else result, dtype=np.float32)
    if values.shape == rewards.shape:
        _require_finite(config, values[~np.isnan(rewards)])
        return np.where(np.isnan(rewards), 0.0, values).tolist()
    if values.ndim != 2 or len(values) != rewards.size or values.shape[1] < lengths.max():
        raise ConfigError(
            f"advantage {config.advantage} must return [prompts, samples] = {rewards.shape} or [batch, time] = "
            f"({rewards.size}, {lengths.max()} or more), got {values.shape}"
        )
    rows = []
    for row, length, reward in zip(values, lengths.ravel(), rewards.ravel(), strict=True):
        row = row[:length] if not np.isnan(reward) else np.zeros(length, dtype=np.float32)
        _require_finite(config, row)
        rows.append(tuple(row.tolist()))
    samples = rewards.shape[1]
    return [list(rows[start : start + samples]) for start in range(0, len(rows), samples)]


def _inputs(
    config: Config, groups: Sequence[Group], scored: Sequence[GroupScores], rewards: np.ndarray
) -> AdvantageInputs:
    by_reward: dict[str, mx.array] = {}
    if config.control == "none":
        names, values, _ = counted_rewards(scored, config.reward_weights)
        by_reward = {name: mx.array(value) for name, value in zip(names, values, strict=True)}
    rollouts = [group.rollouts for group in groups]
    missing = np.isnan(rewards)
    present = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
    means = np.where(missing, 0, rewards).sum(axis=1, keepdims=True) / present
    return AdvantageInputs(
        rewards=mx.array(np.where(missing, means, rewards).astype(np.float32)),
        missing=mx.array(missing),
        by_reward=by_reward,
        lengths=mx.array([[len(rollout.tokens) for rollout in row] for row in rollouts]),
        truncated=mx.array([[rollout.stop_reason == "length" for rollout in row] for row in rollouts]),
        groups=tuple(groups),
        config=config,
    )


def _require_finite(config: Config, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ConfigError(f"advantage {config.advantage} must be finite where there is a reward, got {values}")
