"""What an update minimises: the loss as the config sets it, its denominator, and the sums its metrics are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from grpo import kl
from grpo.config import Config
from grpo.losses import clip_fractions, policy_loss, step_denominator
from grpo.model.forward import Rows
from grpo.types import Group, LossArrays, Segment


@dataclass(frozen=True)
class Objective:
    """The policy loss of a config; every array is [batch, time] where it does not say otherwise."""

    config: Config

    @property
    def has_reference(self) -> bool:
        """Whether the loss has a KL term, and so needs the reference's logprobs."""
        return self.config.beta > 0

    def denominator(self, groups: Sequence[Group]) -> float:
        """Return what the losses of an update's micro-batches are divided by.

        Completions of advantage 0 count too; truncated ones that are masked do not.
        """
        dropped = self.config.mask_truncated_completions
        lengths = [
            0 if dropped and r.stop_reason == "length" else r.trained_tokens for group in groups for r in group.rollouts
        ]
        return step_denominator(
            lengths, loss_type=self.config.loss_type, max_completion_length=self.config.max_completion_length
        )

    def advantages(self, segment: Segment, rows: Rows) -> mx.array:
        """Return a micro-batch's advantages, [batch], or [batch, time] where every token has its own."""
        if isinstance(segment.advantages[0], tuple):
            return rows.padded(mx.array(rows.trained(segment.advantages)))  # type: ignore[arg-type]
        return mx.array(segment.advantages)

    def __call__(self, policy_logprobs: mx.array, arrays: LossArrays, denominator: float) -> mx.array:
        """Return a micro-batch's share of the update's loss, a scalar."""
        config = self.config
        return policy_loss(
            policy_logprobs,
            arrays.sampler_logprobs,
            arrays.advantages,
            arrays.mask,
            loss_type=config.loss_type,
            clip_low=config.epsilon,
            clip_high=config.clip_high,
            dual_clip=config.delta,
            importance=config.importance_sampling_level,
            reference_logprobs=arrays.reference_logprobs,
            beta=config.beta,
            max_completion_length=config.max_completion_length,
            denominator=denominator,
        )

    def sums(self, policy_logprobs: mx.array, arrays: LossArrays) -> dict[str, mx.array]:
        """Return sums over the trained tokens, which add up over micro-batches, for the metrics."""
        config, sampler_logprobs, mask = self.config, arrays.sampler_logprobs, arrays.mask
        low, high = clip_fractions(
            policy_logprobs,
            arrays.sampler_logprobs,
            arrays.advantages,
            arrays.mask,
            clip_low=1.0 if config.loss_type == "cispo" else config.epsilon,
            clip_high=config.clip_high - (config.loss_type == "cispo"),
            importance="sequence" if config.loss_type == "gspo" else config.importance_sampling_level,
        )
        difference = mx.abs(policy_logprobs - sampler_logprobs) * mask
        sums = {
            "tokens": mask.sum(),
            "clip_low": low,
            "clip_high": high,
            "difference": difference.sum(),
            "mismatch_k3": (kl.k3(policy_logprobs, sampler_logprobs) * mask).sum(),
        }
        if arrays.reference_logprobs is not None:
            sums["kl"] = (kl.k3(policy_logprobs, arrays.reference_logprobs) * mask).sum()
        return sums
