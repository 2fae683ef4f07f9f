"""The policy-gradient losses of the GRPO family: one per-token formula each, then `grpo.reduce`.

The ratio is token-level as in DeepSeekMath (arXiv 2402.03300); the R1 paper (arXiv 2501.12948) writes a sequence-level
one. `importance="sequence"` gives GSPO's.

At the first update on a batch the ratio is 1 and the loss about 0 (group advantages add up to 0). That is no bug: the
gradient is not 0.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import mlx.core as mx

from grpo.kl import k3
from grpo.ratios import sequence_ratio, token_ratio
from grpo.reduce import UNITS, LossType, check_loss_type, reduce_loss, require_budget

Importance = Literal["token", "sequence"]


def policy_loss(
    policy_logprobs: mx.array,
    sampler_logprobs: mx.array,
    advantages: mx.array,
    mask: mx.array,
    *,
    loss_type: LossType,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    importance: Importance = "token",
    reference_logprobs: mx.array | None = None,
    beta: float = 0.0,
    max_completion_length: int | None = None,
    denominator: float | mx.array | None = None,
) -> mx.array:
    """Return the loss whose gradient moves the policy towards completions better than their group.

    l_t = -min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A) + beta * k3
    cispo: l_t = -stop_gradient(min(ratio, clip_high)) * A * policy_logprob + beta * k3
    loss = sum of l over what `loss_type` weighs / denominator (see `grpo.reduce`)

    DeepSeekMath arXiv 2402.03300 (grpo), DAPO 2503.14476, Dr. GRPO 2503.20783, GSPO 2507.18071, CISPO 2506.13585.

    Args:
        policy_logprobs: [batch, time], the only argument with a gradient.
        sampler_logprobs: [batch, time], of the policy that drew the tokens.
        advantages: [batch], [batch, 1] or [batch, time].
        mask: [batch, time], 1 at trained tokens. Nothing at the others, NaN included, reaches loss or gradient.
        loss_type: grpo, bnpo, dapo, dr_grpo, gspo (implies sequence importance) or cispo.
        clip_low, clip_high: distances from 1; for cispo clip_high is the bound itself and clip_low has no part.
        dual_clip: upper bound of the ratio in the unclipped term (TRL's delta), no part in cispo.
        importance: a ratio a token or one a sequence.
        reference_logprobs: [batch, time], needed when beta is not 0.
        beta: weight of k3, added after the clip and reduced like the rest.
        max_completion_length: tokens; dr_grpo's budget of a completion.
        denominator: sequences (grpo, gspo), tokens (bnpo, dapo, cispo) or completions x max_completion_length (dr_grpo)
            of the whole optimizer step, see `step_denominator`; None counts this batch.
    Returns:
        scalar; 0 with gradient 0 if everything is masked.
    """
    check_loss_type(loss_type)
    if beta and reference_logprobs is None:
        raise ValueError(
            f"reference_logprobs must be given when beta is not 0, got None with beta {beta}: "
            "the KL term compares the policy with the reference"
        )
    trained = mask != 0
    policy = _trained_values(policy_logprobs, trained)
    sampler = mx.stop_gradient(_trained_values(sampler_logprobs, trained))
    advantages = mx.stop_gradient(_per_token(advantages, trained))  # [batch, time]
    ratio = _ratio(policy, sampler, trained, "sequence" if loss_type == "gspo" else importance)
    if loss_type == "cispo":
        token_losses = -mx.stop_gradient(mx.minimum(ratio, clip_high)) * advantages * policy
    else:
        token_losses = -_clipped_surrogate(ratio, advantages, clip_low, clip_high, dual_clip)
    if beta and reference_logprobs is not None:
        token_losses = token_losses + beta * k3(policy, mx.stop_gradient(_trained_values(reference_logprobs, trained)))
    return reduce_loss(
        token_losses,
        trained,
        loss_type=loss_type,
        max_completion_length=max_completion_length,
        denominator=denominator,
    )


def step_denominator(lengths: Sequence[int], *, loss_type: LossType, max_completion_length: int | None = None) -> float:
    """Count the denominator of one optimizer step for `policy_loss`, before the step is split.

    Args:
        lengths: trained tokens of each completion of the step; 0 = left out of the loss.
        max_completion_length: tokens; needed for dr_grpo only.
    Returns:
        sequences, tokens or completions x max_completion_length; 0.0 if all are left out, and then the loss is 0 too.
    """
    check_loss_type(loss_type)
    if UNITS[loss_type] == "token":
        return float(sum(lengths))
    sequences = sum(length > 0 for length in lengths)
    return float(sequences if UNITS[loss_type] == "sequence" else sequences * require_budget(max_completion_length))


def clip_fractions(
    policy_logprobs: mx.array,
    sampler_logprobs: mx.array,
    advantages: mx.array,
    mask: mx.array,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    importance: Importance = "token",
) -> tuple[mx.array, mx.array]:
    """Count the trained tokens whose gradient the clip has removed, below and above: clip_ratio/*'s numerators.

    low = #(ratio < 1 - clip_low and A < 0), high = #(ratio > 1 + clip_high and A > 0)

    Counts, not means, so that micro-batches add up; divide by the trained tokens of the step. Shapes as in
    `policy_loss`; gspo needs `importance="sequence"`, a cispo bound c is `clip_high=c - 1` here.

    Returns:
        two scalars; 0 and 0 if everything is masked.
    """
    trained = mask != 0
    policy, sampler = _trained_values(policy_logprobs, trained), _trained_values(sampler_logprobs, trained)
    advantages = _per_token(advantages, trained)  # 0 at masked positions, so neither sign holds there
    ratio = _ratio(policy, sampler, trained, importance)
    low = mx.logical_and(ratio < 1 - clip_low, advantages < 0)
    high = mx.logical_and(ratio > 1 + clip_high, advantages > 0)
    return low.sum(), high.sum()


def _trained_values(values: mx.array, trained: mx.array) -> mx.array:
    """float32, 0 at masked positions.

    This is the inner half of a double where: masking only the result would leave NaN in the gradient, as 0 * inf.
    """
    if values.shape != trained.shape:
        raise ValueError(f"logprobs must have the shape of mask, [batch, time] = {trained.shape}, got {values.shape}")
    return mx.where(trained, values.astype(mx.float32), 0.0)


def _per_token(advantages: mx.array, trained: mx.array) -> mx.array:
    """[batch], [batch, 1] or [batch, time] -> [batch, time], 0 at masked positions."""
    column = advantages[:, None] if advantages.ndim == 1 else advantages
    if column.shape not in (trained.shape, (trained.shape[0], 1)):
        raise ValueError(
            f"advantages must be [batch], [batch, 1] or [batch, time] = {trained.shape}, got shape {advantages.shape}"
        )
    return mx.where(trained, column.astype(mx.float32), 0.0)


def _ratio(policy: mx.array, sampler: mx.array, trained: mx.array, importance: Importance) -> mx.array:
    if importance not in get_args(Importance):
        raise ValueError(f"importance must be one of {', '.join(get_args(Importance))}, got {importance!r}")
    return token_ratio(policy, sampler) if importance == "token" else sequence_ratio(policy, sampler, trained)


def _clipped_surrogate(
    ratio: mx.array, advantages: mx.array, clip_low: float, clip_high: float, dual_clip: float | None
) -> mx.array:
    """min(ratio * A, clip(ratio) * A), [batch, time]: leaving the clip range is never rewarded."""
    bounded = mx.clip(ratio, 1 - clip_low, 1 + clip_high)
    unclipped = ratio if dual_clip is None else mx.minimum(ratio, dual_clip)
    return mx.minimum(bounded * advantages, unclipped * advantages)
