"""Group-relative advantages: what a completion is worth compared with the other answers to the same prompt."""

from typing import Literal, get_args

import mlx.core as mx

Scale = Literal["group", "batch", "none"]


def group_advantages(rewards: mx.array, *, scale: Scale = "group", epsilon: float = 1e-4) -> mx.array:
    """The reward of each completion relative to its group, one advantage a completion.

    A_i = (r_i - mean(r)) / (std(r) + epsilon), mean over the group and std with ddof = 1 over

    - `group`: the group (DeepSeekMath, arXiv 2402.03300),
    - `batch`: all rewards of the batch, around the batch's mean,
    - `none`: nothing; A_i = r_i - mean(r) (Dr. GRPO, arXiv 2503.20783).

    Call it before completions are dropped from the loss: a truncated completion still counts in its group's mean.

    Args:
        rewards: [prompts, samples]; NaN is a missing reward, left out of every mean and std.
        scale: what the std is taken over.
        epsilon: added to the std, in units of reward.
    Returns:
        [prompts, samples] float32. 0 for a missing reward, for a group with fewer than 2 rewards and, exactly, for a
        group whose rewards are all equal; nearly equal rewards stay within (samples - 1) / sqrt(samples).
    """
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {', '.join(get_args(Scale))}, got {scale!r}")
    if rewards.ndim != 2:
        raise ValueError(f"rewards must be [prompts, samples], got shape {rewards.shape}")
    rewards = rewards.astype(mx.float32)
    present = mx.logical_not(mx.isnan(rewards))  # [prompts, samples]
    centred = _centred(rewards, present, axis=1)  # [prompts, samples]
    if scale == "none":
        return centred
    if scale == "group":
        std = _std(centred, present, axis=1)  # [prompts, 1]
    else:
        std = _std(_centred(rewards, present, axis=None), present, axis=None)  # [1, 1]
    divisor = std + epsilon
    return centred / mx.where(divisor > 0, divisor, 1.0)


def decoupled_advantages(rewards: mx.array, weights: mx.array, *, epsilon: float = 1e-4) -> mx.array:
    """Advantages of several rewards, each normalised on its own: GDPO (arXiv 2601.05242).

    A_ki = (r_ki - mean(r_k)) / (std(r_k) + epsilon) over the group, S_i = sum_k w_k A_ki, A_i = S_i / (std(S) +
    epsilon), the last std over the batch. Summed first (`group_advantages`), a rare small reward beside a large one
    hardly shows, and different mixes of rewards get the same advantage.

    The paper also takes off the batch's mean of S; it is 0, since every A_k sums to 0 over its group, so that what
    would be taken off is rounding error, and a group without any spread would no longer be exactly 0.

    Args:
        rewards: [rewards, prompts, samples]; NaN is a missing reward, which adds nothing to S.
        weights: [rewards].
        epsilon: added to both stds.
    Returns:
        [prompts, samples] float32; 0 for a completion without any reward, and for a group in which no reward differs.
    """
    if rewards.ndim != 3 or weights.shape != rewards.shape[:1]:
        raise ValueError(
            f"rewards must be [rewards, prompts, samples] and weights [rewards], got {rewards.shape} and "
            f"{weights.shape}"
        )
    summed = mx.zeros(rewards.shape[1:])  # [prompts, samples]
    for values, weight in zip(rewards, weights, strict=True):
        summed = summed + weight * group_advantages(values, epsilon=epsilon)
    present = mx.logical_not(mx.isnan(rewards)).any(axis=0)  # [prompts, samples]
    divisor = _std(summed, present, axis=None) + epsilon
    return summed / mx.where(divisor > 0, divisor, 1.0)


def _centred(rewards: mx.array, present: mx.array, *, axis: int | None) -> mx.array:
    """Return r - mean(r) over the present rewards, 0 at missing ones.

    The lowest reward is taken off first: equal rewards, or a lone one, then give exactly 0, and nearly equal large ones
    keep their digits.
    """
    count = mx.maximum(present.sum(axis=axis, keepdims=True), 1)
    lowest = mx.where(present, rewards, mx.inf).min(axis=axis, keepdims=True)
    above = mx.where(present, rewards - lowest, 0.0)
    return mx.where(present, above - above.sum(axis=axis, keepdims=True) / count, 0.0)


def _std(centred: mx.array, present: mx.array, *, axis: int | None) -> mx.array:
    """sqrt(sum(centred^2) / (n - 1)); 0 where fewer than 2 are present."""
    count = present.sum(axis=axis, keepdims=True)
    return mx.sqrt(centred.square().sum(axis=axis, keepdims=True) / mx.maximum(count - 1, 1))
