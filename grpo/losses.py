"""The policy-gradient losses of the GRPO family: one per-token surrogate each, then `grpo.reduce`.

The ratio is token-level as in DeepSeekMath (arXiv 2402.03300); the R1 paper (arXiv 2501.12948) writes a sequence-level
one. `importance="sequence"` gives GSPO's.

At the first update on a batch the ratio is 1 and the loss about 0 (group advantages add up to 0). That is no bug: the
gradient is not 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import mlx.core as mx

from grpo.algorithms.surrogates import (
    Divergence,
    Importance,
    Limits,
    Tokens,
    above_bound,
    clipped,
    geometric_mean,
    moved_too_far,
    nothing_held,
    outside_clip,
    outside_log_clip,
    soft_gate,
    weighted_likelihood,
    within_divergence,
)
from grpo.kl import k3
from grpo.reduce import StepCounts, Unit, reduce_loss


@dataclass(frozen=True)
class Loss:
    """A loss of the table: its surrogate, what the sum over tokens is divided by, and what a reader wants to know."""

    surrogate: Callable[[Tokens, Limits], mx.array]
    held_back: Callable[[Tokens, Limits], tuple[mx.array, mx.array]]
    unit: Unit
    formula: str
    paper: str
    keys: str
    use: str
    sequence_ratio: bool = False  # whatever importance_sampling_level says
    by_length: bool = False  # each sequence weighs as many times as it has tokens


CLIP = "-min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A)"
CLIP_KEYS = "epsilon, epsilon_high, delta, importance_sampling_level"


def _clipped(unit: Unit, paper: str, use: str, *, formula: str = CLIP, keys: str = CLIP_KEYS, **more: bool) -> Loss:
    return Loss(clipped, outside_clip, unit, formula, paper, keys, use, **more)


LOSSES: dict[str, Loss] = {
    "grpo": _clipped("sequence", "2402.03300", "the default: every completion counts the same, long or short"),
    "bnpo": _clipped("token", "2506.02864", "every token counts the same; TRL's name for dapo within one batch"),
    "dapo": _clipped("token", "2503.14476", "long chains of thought: every token of the step counts the same"),
    "dr_grpo": _clipped("budget", "2503.20783", "no length bias: over max_completion_length; with scale_rewards none"),
    "gspo": _clipped(
        "sequence",
        "2507.18071",
        "mixture-of-experts models and rewards of whole answers; epsilon 3e-4, epsilon_high 4e-4 in the paper",
        formula=CLIP + ", r = exp(mean log-ratio of the sequence)",
        keys="epsilon, epsilon_high, delta",
        sequence_ratio=True,
    ),
    "cispo": Loss(
        weighted_likelihood,
        above_bound,
        "token",
        "-stop_gradient(min(r, epsilon_high)) A log p",
        "2506.13585",
        "epsilon_high (the bound itself, e.g. 5.0)",
        "several updates a batch without losing the gradient of rare, decisive tokens",
    ),
    "sapo": Loss(
        soft_gate,
        nothing_held,
        "sequence",
        "-sigmoid(tau (r - 1)) 4 / tau A, tau by the sign of A",
        "2511.20347",
        "sapo_temperature_pos, sapo_temperature_neg",
        "several updates a batch: tokens fade out smoothly instead of being cut",
    ),
    "dppo": Loss(
        within_divergence,
        moved_too_far,
        "token",
        "-r A, 0 once TV or KL of (this token, any other) exceeds epsilon (A < 0) or epsilon_high (A > 0)",
        "2602.04879",
        "divergence, epsilon, epsilon_high, delta",
        "large vocabularies: rare tokens may multiply their probability, likely ones not jump; tv 0.2, kl 0.05",
    ),
    "gmpo": Loss(
        geometric_mean,
        outside_log_clip,
        "sequence",
        "-A exp(mean of the log-ratios, each clipped to [-epsilon, epsilon_high])",
        "2507.20673",
        "epsilon, epsilon_high (of log-ratios: 0.4)",
        "outlier tokens: the geometric mean is not moved by one extreme ratio",
    ),
    "luspo": _clipped(
        "sequence",
        "2602.05261",
        "GSPO without its preference for short answers",
        formula=CLIP + " times the sequence's length, r = exp(mean log-ratio of the sequence)",
        keys="epsilon, epsilon_high, delta",
        sequence_ratio=True,
        by_length=True,
    ),
}


def check_loss_type(loss_type: str) -> None:
    if loss_type not in LOSSES:
        raise ValueError(f"loss_type must be one of {', '.join(LOSSES)}, got {loss_type!r}")


def policy_loss(
    policy_logprobs: mx.array,
    sampler_logprobs: mx.array,
    advantages: mx.array,
    mask: mx.array,
    *,
    loss_type: str,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    importance: Importance = "token",
    reference_logprobs: mx.array | None = None,
    beta: float = 0.0,
    max_completion_length: int | None = None,
    denominator: float | mx.array | None = None,
    divergence: Divergence = "tv",
    temperature_positive: float = 1.0,
    temperature_negative: float = 1.05,
) -> mx.array:
    """Return the loss whose gradient moves the policy towards completions better than their group.

    l_t = surrogate of `loss_type` (see LOSSES) + beta * k3
    loss = sum of l over what `loss_type` weighs / denominator (see `grpo.reduce`)

    Args:
        policy_logprobs: [batch, time], the only argument with a gradient.
        sampler_logprobs: [batch, time], of the policy that drew the tokens.
        advantages: [batch], [batch, 1] or [batch, time].
        mask: [batch, time], 1 at trained tokens. Nothing at the others, NaN included, reaches loss or gradient.
        loss_type: a name in LOSSES.
        clip_low, clip_high: distances of the ratio from 1; for cispo clip_high is the bound itself and clip_low has no
            part; for gmpo of the log-ratio from 0; for dppo the largest divergence; none in sapo.
        dual_clip: upper bound of the ratio in the unclipped term (TRL's delta), no part in cispo, sapo and gmpo.
        importance: a ratio a token or one a sequence (always the latter in gspo and luspo).
        reference_logprobs: [batch, time], needed when beta is not 0.
        beta: weight of k3, added after the clip and reduced like the rest.
        max_completion_length: tokens; dr_grpo's budget of a completion.
        denominator: sequences, tokens or completions x max_completion_length of the whole optimizer step, see
            `StepCounts`; None counts this batch.
        divergence: dppo's.
        temperature_positive, temperature_negative: sapo's, of tokens with advantages above 0 and of the others.
    Returns:
        scalar; 0 with gradient 0 if everything is masked.
    """
    check_loss_type(loss_type)
    if beta and reference_logprobs is None:
        raise ValueError(
            f"reference_logprobs must be given when beta is not 0, got None with beta {beta}: "
            "the KL term compares the policy with the reference"
        )
    limits = Limits(clip_low, clip_high, dual_clip, importance, divergence, temperature_positive, temperature_negative)
    losses = token_losses(
        policy_logprobs,
        sampler_logprobs,
        advantages,
        mask,
        loss_type=loss_type,
        limits=limits,
        reference_logprobs=reference_logprobs if beta else None,
        beta=beta,
    )
    return reduce_loss(
        losses,
        mask,
        unit=LOSSES[loss_type].unit,
        max_completion_length=max_completion_length,
        denominator=denominator,
    )


def token_losses(
    policy_logprobs: mx.array,
    sampler_logprobs: mx.array,
    advantages: mx.array,
    mask: mx.array,
    *,
    loss_type: str,
    limits: Limits,
    reference_logprobs: mx.array | None = None,
    beta: float = 0.0,
    weighted_kl: bool = False,
) -> mx.array:
    """Return the loss of each token before it is reduced, [batch, time]; arguments as in `policy_loss`.

    weighted_kl: k3 times the token's ratio: its gradient is unbiased off policy too (DeepSeek-V3.2, 2512.02556).
    """
    loss, tokens, limits = _prepared(policy_logprobs, sampler_logprobs, advantages, mask, loss_type, limits)
    losses = loss.surrogate(tokens, limits)
    if reference_logprobs is not None:
        kl = k3(tokens.policy, mx.stop_gradient(_trained_values(reference_logprobs, tokens.trained)))
        if weighted_kl:
            kl = kl * replace(limits, importance="token").ratio(tokens)
        losses = losses + beta * kl
    return losses * tokens.trained.sum(axis=1, keepdims=True) if loss.by_length else losses


def step_denominator(lengths: Sequence[int], *, loss_type: str, max_completion_length: int | None = None) -> float:
    """Count the denominator of one optimizer step for `policy_loss`, before the step is split.

    Args:
        lengths: trained tokens of each completion of the step; 0 = left out of the loss.
        max_completion_length: tokens; needed for dr_grpo only.
    Returns:
        sequences, tokens or completions x max_completion_length; 0.0 if all are left out, and then the loss is 0 too.
    """
    check_loss_type(loss_type)
    return StepCounts.of(lengths).denominator(LOSSES[loss_type].unit, max_completion_length)


def clip_fractions(
    policy_logprobs: mx.array,
    sampler_logprobs: mx.array,
    advantages: mx.array,
    mask: mx.array,
    *,
    loss_type: str = "grpo",
    limits: Limits,
) -> tuple[mx.array, mx.array]:
    """Count the trained tokens that `loss_type` holds back, below and above: clip_ratio/*'s numerators.

    With a clipped loss: low = #(ratio < 1 - clip_low and A < 0), high = #(ratio > 1 + clip_high and A > 0).

    Counts, not means, so that micro-batches add up; divide by the trained tokens of the step. Shapes as in
    `policy_loss`.

    Returns:
        two scalars; 0 and 0 if everything is masked.
    """
    loss, tokens, limits = _prepared(policy_logprobs, sampler_logprobs, advantages, mask, loss_type, limits)
    low, high = loss.held_back(tokens, limits)
    return low.sum(), high.sum()


def _prepared(
    policy_logprobs: mx.array,
    sampler_logprobs: mx.array,
    advantages: mx.array,
    mask: mx.array,
    loss_type: str,
    limits: Limits,
) -> tuple[Loss, Tokens, Limits]:
    """Check what the caller gave; advantages are 0 at masked positions, so neither sign holds there."""
    check_loss_type(loss_type)
    if limits.importance not in get_args(Importance):
        raise ValueError(f"importance must be one of {', '.join(get_args(Importance))}, got {limits.importance!r}")
    trained = mask != 0
    tokens = Tokens(
        policy=_trained_values(policy_logprobs, trained),
        sampler=mx.stop_gradient(_trained_values(sampler_logprobs, trained)),
        advantages=mx.stop_gradient(per_token(advantages, trained)),
        trained=trained,
    )
    loss = LOSSES[loss_type]
    return loss, tokens, replace(limits, importance="sequence") if loss.sequence_ratio else limits


def _trained_values(values: mx.array, trained: mx.array) -> mx.array:
    """float32, 0 at masked positions.

    This is the inner half of a double where: masking only the result would leave NaN in the gradient, as 0 * inf.
    """
    if values.shape != trained.shape:
        raise ValueError(f"logprobs must have the shape of mask, [batch, time] = {trained.shape}, got {values.shape}")
    return mx.where(trained, values.astype(mx.float32), 0.0)


def per_token(advantages: mx.array, trained: mx.array) -> mx.array:
    """[batch], [batch, 1] or [batch, time] -> [batch, time], 0 at masked positions."""
    column = advantages[:, None] if advantages.ndim == 1 else advantages
    if column.shape not in (trained.shape, (trained.shape[0], 1)):
        raise ValueError(
            f"advantages must be [batch], [batch, 1] or [batch, time] = {trained.shape}, got shape {advantages.shape}"
        )
    return mx.where(trained, column.astype(mx.float32), 0.0)
