"""The objective of an update: the configured loss, its denominator and the sums behind its metrics."""

from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx

from grpo import kl
from grpo.algorithms.resolve import limits_of, loss_named, needs, try_loss
from grpo.algorithms.weights import importance_weights, off_policy_mask
from grpo.config import Config
from grpo.losses import LOSSES, clip_fractions, per_token
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
        bonus = config.entropy_coef > 0 or config.use_adaptive_entropy
        self.needs_entropies = bonus or "entropies" in needs(self.loss)
        teaches = try_loss(self.loss, config) if self.is_own else False
        self.keeps_zero = teaches or self.has_reference or bonus or config.covariance == "kl_cov"

    @property
    def needs_proximal(self) -> bool:
        """Return whether the loss needs the logprobs of the trainer's policy at the step's start."""
        return self.config.num_updates * self.config.num_iterations > 1 and self.config.sampling_cap is not None

    @property
    def has_reference(self) -> bool:
        """Return whether the loss has a KL term, and so needs the reference's logprobs."""
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
        corrected, weights = self._corrected(inputs)
        outputs, budget = self.loss(corrected), self.config.max_completion_length
        token_losses = outputs.token_losses
        if inputs.penalised is not None:
            away = mx.abs(inputs.policy_logprobs - inputs.sampler_logprobs)
            token_losses = token_losses + self.config.covariance_kl_coef * away * inputs.penalised
        loss = reduce_loss(
            token_losses,
            inputs.mask,
            unit=outputs.unit,
            max_completion_length=budget,
            denominator=counts.denominator(outputs.unit, budget),
        )
        if self.config.entropy_coef > 0 and inputs.entropies is not None:
            loss = loss - self.config.entropy_coef * masked_sum(inputs.entropies, inputs.mask) / max(counts.tokens, 1)
        metrics = outputs.metrics | weights
        return loss, {OWN + name: masked_sum(values, inputs.mask) for name, values in metrics.items()}

    def _corrected(self, inputs: LossInputs) -> tuple[LossInputs, dict[str, mx.array]]:
        """Weigh the advantages for the sampler not being the policy; return also the weights, for metrics.

        With importance weights the loss's ratio is against the trainer's policy at the step's start, and how far that
        was from the sampler is in the weight: the two factors of policy / sampler.
        """
        config, mask = self.config, inputs.mask
        cap, threshold = config.sampling_cap, config.off_policy_mask_threshold
        if cap is None and threshold is None:
            return inputs, {}
        policy, sampler = mx.stop_gradient(inputs.policy_logprobs), inputs.sampler_logprobs
        credit = advantages = per_token(inputs.advantages, mask != 0)
        metrics: dict[str, mx.array] = {}
        base = sampler
        if cap is not None:
            base = policy if inputs.proximal_logprobs is None else inputs.proximal_logprobs
            mode, floor = config.importance_sampling_mode, config.importance_sampling_min
            weights = importance_weights(base, sampler, mask, mode=mode, cap=cap, floor=floor)
            credit, metrics = credit * weights, {"sampling/importance_weight": weights}
        if threshold is not None:
            kept = off_policy_mask(policy, sampler, advantages, mask, threshold=threshold)
            credit, metrics = credit * kept, metrics | {"off_policy/kept": kept}
        return replace(inputs, sampler_logprobs=base, advantages=credit), metrics

    def sums(self, inputs: LossInputs) -> dict[str, mx.array]:
        """Return sums over the micro-batch's trained tokens: what the metrics of clip, sampler and KL are made of."""
        policy, sampler, mask = inputs.policy_logprobs, inputs.sampler_logprobs, inputs.mask
        corrected, _ = self._corrected(inputs)
        low, high = clip_fractions(
            policy,
            corrected.sampler_logprobs,
            corrected.advantages,
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
