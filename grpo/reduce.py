"""From per-token losses to one number: which token and sequence weighs how much. The only place that divides by counts.

Numerator and denominator always come from the same mask: 1 at a trained token, the stop token included. The denominator
is that of the whole optimizer step when it is passed in; then any split into micro-batches adds up to the same sum.
"""

from typing import Literal, get_args

import mlx.core as mx

LossType = Literal["grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo"]
Unit = Literal["sequence", "token", "budget"]

UNITS: dict[LossType, Unit] = {
    "grpo": "sequence",  # each sequence counts the same: mean over its tokens, then over sequences
    "gspo": "sequence",
    "bnpo": "token",  # each token counts the same
    "dapo": "token",
    "cispo": "token",
    "dr_grpo": "budget",  # each token counts 1 / max_completion_length, whatever the lengths
}


def check_loss_type(loss_type: str) -> None:
    if loss_type not in UNITS:
        raise ValueError(f"loss_type must be one of {', '.join(get_args(LossType))}, got {loss_type!r}")


def require_budget(max_completion_length: int | None) -> int:
    if max_completion_length is None or max_completion_length < 1:
        raise ValueError(
            f"max_completion_length must be at least 1 with loss_type dr_grpo, got {max_completion_length}: "
            "the sum is divided by completions x max_completion_length"
        )
    return max_completion_length


def masked_sum(values: mx.array, mask: mx.array) -> mx.array:
    """sum_t m_t v_t over everything, as a scalar; 0 if everything is masked. [batch, time], [batch, time] -> []."""
    return mx.where(mask != 0, values, 0.0).sum(axis=1).sum()  # by rows: one long float32 sum drifts


def sequence_means(values: mx.array, mask: mx.array) -> mx.array:
    """Each row's mean over its trained tokens: sum_t m_t v_t / sum_t m_t.

    Args:
        values: [batch, time]; masked positions may hold anything, NaN too.
        mask: [batch, time], 1 at trained tokens.
    Returns:
        [batch]; 0 for a row without trained tokens.
    """
    counted = mask != 0
    return mx.where(counted, values, 0.0).sum(axis=1) / mx.maximum(counted.sum(axis=1), 1)


def batch_denominator(mask: mx.array, *, loss_type: LossType, max_completion_length: int | None = None) -> mx.array:
    """Count the denominator of this batch alone: its sequences, its tokens, or its token budget.

    Args:
        mask: [batch, time], 1 at trained tokens; rows without any are left out.
    Returns:
        scalar; 0 if everything is masked.
    """
    counted = mask != 0
    if UNITS[loss_type] == "token":
        return counted.sum()
    sequences = counted.any(axis=1).sum()
    return sequences if UNITS[loss_type] == "sequence" else sequences * require_budget(max_completion_length)


def reduce_loss(
    token_losses: mx.array,
    mask: mx.array,
    *,
    loss_type: LossType,
    max_completion_length: int | None = None,
    denominator: float | mx.array | None = None,
) -> mx.array:
    """Reduce per-token losses to the loss of a (micro-)batch.

    grpo, gspo: sum_i mean_t(l) / sequences · bnpo, dapo, cispo: sum l / tokens · dr_grpo: sum l / (sequences * budget)

    Args:
        token_losses: [batch, time].
        mask: [batch, time], 1 at trained tokens.
        denominator: what the sum is divided by, counted over the optimizer step; None counts this batch.
    Returns:
        scalar; 0 if everything is masked.
    """
    check_loss_type(loss_type)
    if denominator is None:
        denominator = batch_denominator(mask, loss_type=loss_type, max_completion_length=max_completion_length)
    if UNITS[loss_type] == "sequence":
        total = sequence_means(token_losses, mask).sum()
    else:
        total = masked_sum(token_losses, mask)
    divisor = mx.array(denominator, dtype=mx.float32)
    return total / mx.where(divisor > 0, divisor, 1.0)  # nothing trained in the whole step: 0 / 1
