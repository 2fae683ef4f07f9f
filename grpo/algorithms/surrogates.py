"""The per-token surrogates of the GRPO family, and which tokens each of them holds back.

A surrogate's gradient is the policy gradient; what differs is how far a token may move the policy away
from the one that sampled it. All arrays are [batch, time] float32 and 0 at masked positions.
"""

from dataclasses import dataclass
from typing import Literal

import mlx.core as mx

from grpo.ratios import sequence_ratio, token_ratio
from grpo.reduce import sequence_means

Importance = Literal["token", "sequence"]
Divergence = Literal["tv", "kl"]
SMALLEST_REST = 1e-8  # what is left beside a token's probability, at least, where it is divided by


@dataclass(frozen=True)
class Tokens:
    """A micro-batch as a surrogate sees it."""

    policy: mx.array  # logprobs, the only ones with a gradient
    sampler: mx.array  # logprobs the ratio is taken against
    advantages: mx.array
    trained: mx.array  # bool


@dataclass(frozen=True)
class Limits:
    """Limits on how far a token may move the policy; each surrogate documents the ones it reads."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    importance: Importance = "token"
    divergence: Divergence = "tv"
    temperature_positive: float = 1.0
    temperature_negative: float = 1.05

    def ratio(self, tokens: Tokens) -> mx.array:
        """Return the ratio of each token, or of its sequence."""
        if self.importance == "token":
            return token_ratio(tokens.policy, tokens.sampler)
        return sequence_ratio(tokens.policy, tokens.sampler, tokens.trained)


def clipped(tokens: Tokens, limits: Limits) -> mx.array:
    """-min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A): leaving the clip range is never rewarded.

    `dual_clip` is an upper bound of the ratio in the first term.
    """
    ratio = limits.ratio(tokens)
    bounded = mx.clip(ratio, 1 - limits.clip_low, 1 + limits.clip_high)
    unclipped = ratio if limits.dual_clip is None else mx.minimum(ratio, limits.dual_clip)
    return -mx.minimum(bounded * tokens.advantages, unclipped * tokens.advantages)


def weighted_likelihood(tokens: Tokens, limits: Limits) -> mx.array:
    """-stop_gradient(min(ratio, clip_high)) * A * policy (CISPO): no token loses its gradient."""
    ratio = limits.ratio(tokens)
    return -mx.stop_gradient(mx.minimum(ratio, limits.clip_high)) * tokens.advantages * tokens.policy


def soft_gate(tokens: Tokens, limits: Limits) -> mx.array:
    """-sigmoid(temperature * (ratio - 1)) * 4 / temperature * A (SAPO): a gradient that fades instead of ending.

    The temperature is `temperature_positive` where A > 0 and `temperature_negative` elsewhere; at ratio 1 the gradient
    is that of ratio * A, and the value 2 / temperature * A.
    """
    temperature = mx.where(tokens.advantages > 0, limits.temperature_positive, limits.temperature_negative)
    gate = mx.sigmoid(temperature * (limits.ratio(tokens) - 1)) * 4 / temperature
    return -gate * tokens.advantages


def within_divergence(tokens: Tokens, limits: Limits) -> mx.array:
    """-ratio * A for tokens whose probability has not moved too far the way A pushes it, 0 for the others (DPPO).

    `dual_clip` is an upper bound of the ratio, as in `clipped`.
    """
    low, high = moved_too_far(tokens, limits)
    ratio = limits.ratio(tokens)
    ratio = ratio if limits.dual_clip is None else mx.minimum(ratio, limits.dual_clip)
    return -mx.where(mx.logical_or(low, high), 0.0, ratio * tokens.advantages)


def geometric_mean(tokens: Tokens, limits: Limits) -> mx.array:
    """-exp(mean of a sequence's clipped log-ratios) * A at every token of it (GMPO).

    A log-ratio is held below clip_high where A > 0 and above -clip_low where A < 0, so the clip is of
    log-ratios: 0.4 in the paper. Where tokens differ in A, the sequence's is their mean.
    """
    log_ratio = tokens.policy - tokens.sampler
    held = mx.where(
        tokens.advantages > 0, mx.minimum(log_ratio, limits.clip_high), mx.maximum(log_ratio, -limits.clip_low)
    )
    ratio = mx.exp(sequence_means(held, tokens.trained))
    advantage = sequence_means(tokens.advantages, tokens.trained)
    return mx.broadcast_to(-(ratio * advantage)[:, None], log_ratio.shape)


def outside_clip(tokens: Tokens, limits: Limits) -> tuple[mx.array, mx.array]:
    """Return which tokens the clip holds back.

    Below: ratio < 1 - clip_low and A < 0. Above: ratio > 1 + clip_high and A > 0.
    """
    ratio = limits.ratio(tokens)
    low = mx.logical_and(ratio < 1 - limits.clip_low, tokens.advantages < 0)
    return low, mx.logical_and(ratio > 1 + limits.clip_high, tokens.advantages > 0)


def above_bound(tokens: Tokens, limits: Limits) -> tuple[mx.array, mx.array]:
    """Return which tokens weigh less than their ratio: none, and those with ratio > clip_high and A > 0."""
    above = mx.logical_and(limits.ratio(tokens) > limits.clip_high, tokens.advantages > 0)
    return mx.zeros_like(above), above


def nothing_held(tokens: Tokens, limits: Limits) -> tuple[mx.array, mx.array]:
    """Return that no token is held back."""
    none = mx.zeros_like(tokens.trained)
    return none, none


def moved_too_far(tokens: Tokens, limits: Limits) -> tuple[mx.array, mx.array]:
    """Return which tokens' probabilities fell (A < 0) or rose (A > 0) by more than clip_low, clip_high.

    tv: |p - q|; kl: q log(q / p) + (1 - q) log((1 - q) / (1 - p)), q the sampler's probability, p the policy's: the
    divergences of the two-outcome distribution "this token or another".
    """
    policy, sampler = mx.stop_gradient(tokens.policy), tokens.sampler
    probability, sampled = mx.exp(policy), mx.exp(sampler)
    if limits.divergence == "tv":
        distance = mx.abs(probability - sampled)
    else:
        rest = [mx.maximum(-mx.expm1(logprob), SMALLEST_REST) for logprob in (sampler, policy)]
        distance = sampled * (sampler - policy) + rest[0] * mx.log(rest[0] / rest[1])
    low = (tokens.advantages < 0) & (probability < sampled) & (distance > limits.clip_low)
    return low, (tokens.advantages > 0) & (probability > sampled) & (distance > limits.clip_high)


def outside_log_clip(tokens: Tokens, limits: Limits) -> tuple[mx.array, mx.array]:
    """Return which tokens' log-ratios are below -clip_low with A < 0, and above clip_high with A > 0."""
    log_ratio = tokens.policy - tokens.sampler
    low = mx.logical_and(log_ratio < -limits.clip_low, tokens.advantages < 0)
    return low, mx.logical_and(log_ratio > limits.clip_high, tokens.advantages > 0)
