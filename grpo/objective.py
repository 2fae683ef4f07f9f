"""What an update minimises: the loss as the config sets it, its denominator, and the sums its metrics are made of."""

from collections.abc import Sequence

import mlx.core as mx

from grpo import kl
from grpo.algorithms.resolve import limits_of, loss_named, needs, try_loss
from grpo.config import Config
from grpo.losses import LOSSES, clip_fractions
from grpo.metrics import OWN
from grpo.model.forward import Rows
from grpo.reduce import StepCounts, masked_sum, reduce_loss
from grpo.types import Group, LossFunction, LossInputs, Segment


class Objective:
    """The policy loss of a config; every array is [batch, time] where it does not say otherwise."""

    def __init__(self, config: Config, loss: LossFunction | None = None) -> None:
        """`loss` takes the place of the one that loss_type names; ConfigError if a user's loss doesn't work."""
        self.config = config
        self.loss = loss or loss_named(config.loss_type)
        self.is_own = loss is not None or config.loss_type not in LOSSES
        self.needs_entropies = "entropies" in needs(self.loss)
        self.keeps_zero = (try_loss(self.loss, config) if self.is_own else False) or self.has_reference

    @property
    def has_reference(self) -> bool:
        """Whether the loss has a KL term, and so needs the reference's logprobs."""
        return self.config.beta > 0

    def counts(self, groups: Sequence[Group]) -> StepCounts:
        """Count what the losses of an update's micro-batches are divided by.

        Completions of advantage 0 count too; truncated ones that are masked do not.
        """
        dropped = self.config.mask_truncated_completions
        return StepCounts.of(
            [
                0 if dropped and r.stop_reason == "length" else r.trained_tokens
                for group in groups
                for r in group.rollouts
            ]
        )

    def advantages(self, segment: Segment, rows: Rows) -> mx.array:
        """Return a micro-batch's advantages, [batch], or [batch, time] where every token has its own."""
        if isinstance(segment.advantages[0], tuple):
            return rows.padded(mx.array(rows.trained(segment.advantages)))  # type: ignore[arg-type]
        return mx.array(segment.advantages)

    def __call__(self, inputs: LossInputs, counts: StepCounts) -> tuple[mx.array, dict[str, mx.array]]:
        """Return a micro-batch's share of the update's loss, a scalar, and sums of the loss's own metrics."""
        outputs, budget = self.loss(inputs), self.config.max_completion_length
        loss = reduce_loss(
            outputs.token_losses,
            inputs.mask,
            unit=outputs.unit,
            max_completion_length=budget,
            denominator=counts.denominator(outputs.unit, budget),
        )
        return loss, {OWN + name: masked_sum(values, inputs.mask) for name, values in outputs.metrics.items()}

    def sums(self, inputs: LossInputs) -> dict[str, mx.array]:
        """Return sums over the micro-batch's trained tokens: what the metrics of clip, sampler and KL are made of."""
        policy, sampler, mask = inputs.policy_logprobs, inputs.sampler_logprobs, inputs.mask
        low, high = clip_fractions(
            policy,
            sampler,
            inputs.advantages,
            mask,
            loss_type="grpo" if self.is_own else self.config.loss_type,
            limits=limits_of(self.config),
        )
        sums = {
            "tokens": mask.sum(),
            "clip_low": low,
            "clip_high": high,
            "difference": (mx.abs(policy - sampler) * mask).sum(),
            "mismatch_k3": (kl.k3(policy, sampler) * mask).sum(),
        }
        if inputs.reference_logprobs is not None:
            sums["kl"] = (kl.k3(policy, inputs.reference_logprobs) * mask).sum()
        return sums
