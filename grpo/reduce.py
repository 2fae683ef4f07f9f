"""From per-token losses to one number: which token and sequence weighs how much. The only place that divides by counts.

Numerator and denominator always come from the same mask: 1 at a trained token, the stop token included. The denominator
is that of the whole optimizer step when it is passed in; then any split into micro-batches adds up to the same sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import mlx.core as mx

Unit = Literal["sequence", "token", "budget"]
# sequence: each sequence counts the same, the mean over its tokens, then over sequences
# token: each token counts the same
# budget: each token counts 1 / max_completion_length, whatever the lengths


@dataclass(frozen=True)
class StepCounts:
    """Counts of what one optimizer step trains on, taken before the step is split."""

    sequences: int  # with at least one trained token
    tokens: int  # trained

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "StepCounts":
        """Count completions of these trained tokens; 0 = left out of the loss."""
        return cls(sum(length > 0 for length in lengths), sum(lengths))

    def denominator(self, unit: Unit, max_completion_length: int | None = None) -> float:
        """Return what a sum of this unit is divided by; 0.0 if everything is left out."""
        check_unit(unit)
        if unit == "token":
            return float(self.tokens)
        return float(self.sequences if unit == "sequence" else self.sequences * require_budget(max_completion_length))


def check_unit(unit: str) -> None:
    if unit not in get_args(Unit):
        raise ValueError(f"unit must be one of {', '.join(get_args(Unit))}, got {unit!r}")


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


def batch_denominator(mask: mx.array, *, unit: Unit, max_completion_length: int | None = None) -> mx.array:
    """Count the denominator of this batch alone: its sequences, its tokens, or its token budget.

    Args:
        mask: [batch, time], 1 at trained tokens; rows without any are left out.
    Returns:
        scalar; 0 if everything is masked.
    """
    counted = mask != 0
    if unit == "token":
        return counted.sum()
    sequences = counted.any(axis=1).sum()
    return sequences if unit == "sequence" else sequences * require_budget(max_completion_length)


def reduce_loss(
    token_losses: mx.array,
    mask: mx.array,
    *,
    unit: Unit,
    max_completion_length: int | None = None,
    denominator: float | mx.array | None = None,
) -> mx.array:
    """Reduce per-token losses to the loss of a (micro-)batch.

    sequence: sum_i mean_t(l) / sequences · token: sum l / tokens · budget: sum l / (sequences * max_completion_length)

    Args:
        token_losses: [batch, time].
        mask: [batch, time], 1 at trained tokens.
        denominator: what the sum is divided by, counted over the optimizer step; None counts this batch.
    Returns:
        scalar; 0 if everything is masked.
    """
    check_unit(unit)
    if denominator is None:
        denominator = batch_denominator(mask, unit=unit, max_completion_length=max_completion_length)
    total = sequence_means(token_losses, mask).sum() if unit == "sequence" else masked_sum(token_losses, mask)
    divisor = mx.array(denominator, dtype=mx.float32)
    return total / mx.where(divisor > 0, divisor, 1.0)  # nothing trained in the whole step: 0 / 1
