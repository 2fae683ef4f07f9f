"""Importance ratios: how much likelier the policy makes a sampled token than the sampler did."""

import mlx.core as mx

from grpo.reduce import sequence_means


def token_ratio(policy_logprobs: mx.array, sampler_logprobs: mx.array) -> mx.array:
    """The ratio of each token (DeepSeekMath, arXiv 2402.03300).

    ratio_t = exp(policy_t - sampler_t).

    Args:
        policy_logprobs, sampler_logprobs: [batch, time].
    Returns:
        [batch, time]; 1 where both agree. What stands at masked positions is the caller's business.
    """
    return mx.exp(policy_logprobs - sampler_logprobs)


def sequence_ratio(policy_logprobs: mx.array, sampler_logprobs: mx.array, mask: mx.array) -> mx.array:
    """One ratio a sequence, its length taken out (GSPO, arXiv 2507.18071).

    ratio = exp(1 / |o| * sum_t (policy_t - sampler_t)) over the sequence's trained tokens.

    Args:
        policy_logprobs, sampler_logprobs: [batch, time].
        mask: [batch, time], 1 at trained tokens; nothing at the others reaches the ratio or its gradient.
    Returns:
        [batch, time], a row's ratio repeated at each of its positions; 1 for a row without trained tokens.
    """
    ratio = mx.exp(sequence_means(policy_logprobs - sampler_logprobs, mask))  # [batch]
    return mx.broadcast_to(ratio[:, None], policy_logprobs.shape)
