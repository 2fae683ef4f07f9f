"""Weights and masks of tokens that correct for, or hold back, what another policy sampled.

All arrays are [batch, time]; nothing at masked positions reaches a result, and no result has a gradient. Every
surrogate is linear in the size of the advantage, so a weight is multiplied into the advantages.
"""

from typing import Literal

import mlx.core as mx

from grpo.reduce import sequence_means

Mode = Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


def importance_weights(
    policy_logprobs: mx.array,
    sampler_logprobs: mx.array,
    mask: mx.array,
    *,
    mode: Mode,
    cap: float,
    floor: float | None = None,
) -> mx.array:
    """Return how much likelier the trainer's policy makes tokens than the sampler did, bounded.

    w = exp(policy - sampler) of each token, or exp of the sum over the sequence's trained tokens;
    truncate: held between floor and cap; mask: 0 outside of them. TRL's vllm_importance_sampling_mode, verl's
    rollout correction (truncated importance sampling, and masked as in IcePop, arXiv 2510.18855).

    Args:
        policy_logprobs: of the policy before the step's first update, by the trainer's network.
        sampler_logprobs: of the same tokens as the sampler gave them.
        mask: 1 at trained tokens.
        cap, floor: of the weight; floor None = 0.
    Returns:
        [batch, time]; 1 where both agree and at masked positions.
    """
    level, _, bound = mode.partition("_")
    trained = mask != 0
    difference = mx.where(trained, policy_logprobs - sampler_logprobs, 0.0)
    if level == "sequence":
        difference = mx.broadcast_to(difference.sum(axis=1, keepdims=True), difference.shape)
    weights = mx.exp(difference)
    low = 0.0 if floor is None else floor
    if bound == "truncate":
        weights = mx.clip(weights, low, cap)
    else:
        weights = mx.where(mx.logical_and(weights >= low, weights <= cap), weights, 0.0)
    return mx.stop_gradient(mx.where(trained, weights, 1.0))


def off_policy_mask(
    policy_logprobs: mx.array, sampler_logprobs: mx.array, advantages: mx.array, mask: mx.array, *, threshold: float
) -> mx.array:
    """Return 0 where a bad sequence has become unlikely: off-policy sequence masking (DeepSeek-V3.2, 2512.02556).

    keep = A >= 0 or mean_t(sampler - policy) <= threshold, the mean over the sequence's trained tokens.

    Args:
        advantages: [batch, time].
        threshold: nats a token.
    Returns:
        [batch, time] of 0 and 1.
    """
    trained = mask != 0
    difference = mx.where(trained, sampler_logprobs - policy_logprobs, 0.0)
    near = sequence_means(difference, mask)[:, None] <= threshold
    return mx.stop_gradient(mx.logical_or(advantages >= 0, near).astype(mx.float32))
