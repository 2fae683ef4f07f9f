"""One optimizer step.

From groups and their advantages to changed weights. The loss itself is grpo.losses.policy_loss.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from grpo import kl
from grpo.batching import pack
from grpo.config import Config
from grpo.forward import Rows, completion_logprobs, sum_trees
from grpo.losses import clip_fractions, policy_loss, step_denominator
from grpo.optimizer import Optimizer, learning_rate
from grpo.policy import Policy
from grpo.types import Group, Segment


@dataclass(frozen=True)
class Scored:
    """What a micro-batch added up to: its share of the loss, its gradient, and sums over its tokens for the metrics."""

    loss: float
    gradient: dict[str, mx.array]
    sums: dict[str, float]


class Learner:
    """Turns rollout batches into optimizer updates."""

    def __init__(self, policy: Policy, config: Config) -> None:
        self.policy, self.config = policy, config
        self.optimizer = Optimizer(policy, config)

    def learn(self, groups: Sequence[Group], advantages: Sequence[Sequence[float]], step: int) -> dict[str, float]:
        """Every update of one rollout batch; returns the step's metrics.

        The batch is gone through num_iterations times in num_updates equal shares. From the second update on the
        policy is no longer the one that sampled, and the ratio to sampler_logprobs says by how much.
        """
        share = len(groups) // self.config.num_updates
        totals: Counter[str] = Counter()
        norms: list[float] = []
        mx.random.seed((self.config.seed << 32) + step)  # adapter dropout, the only draw on the device
        self.policy.model.train()
        for _ in range(self.config.num_iterations):
            for start in range(0, len(groups), share):
                part = slice(start, start + share)
                loss, norm, sums = self._update(groups[part], advantages[part], step)
                totals.update({"loss": loss, **sums})
                norms.append(norm)
        self.policy.model.eval()
        return self._metrics(totals, norms, step)

    def _update(
        self, groups: Sequence[Group], advantages: Sequence[Sequence[float]], step: int
    ) -> tuple[float, float, dict[str, float]]:
        segments = pack(
            groups,
            advantages,
            token_budget=self.config.token_budget,
            keep_truncated=not self.config.mask_truncated_completions,
            keep_zero=self.config.beta > 0,
        )
        lengths = self._trained_lengths(groups)
        denominator = step_denominator(
            lengths, loss_type=self.config.loss_type, max_completion_length=self.config.max_completion_length
        )
        loss, gradient, sums = 0.0, None, Counter[str]()
        for segment in segments:
            scored = self.loss_and_gradient(segment, denominator)
            loss += scored.loss
            gradient = sum_trees(gradient, scored.gradient)
            mx.eval(gradient)
            sums.update(scored.sums)
        if gradient is None:  # nothing to learn from: all rows equal, or all left out
            return 0.0, 0.0, {"skipped_updates": 1.0}
        norm, applied = self.optimizer.apply(gradient, loss, step)
        if not applied:
            return 0.0, 0.0, {"dropped_updates": 1.0}
        return loss, norm, dict(sums)

    def _trained_lengths(self, groups: Sequence[Group]) -> list[int]:
        """Tokens of every completion that counts in the step's denominator;

        Rows of advantage 0 do, they only add nothing.
        """
        dropped = self.config.mask_truncated_completions
        return [
            0 if dropped and r.stop_reason == "length" else len(r.tokens) for group in groups for r in group.rollouts
        ]

    def loss_and_gradient(self, segment: Segment, denominator: float) -> Scored:
        """This micro-batch's share of the step's loss, d(loss)/d(trainable), and its metric sums."""
        config, rows = self.config, Rows(segment.prompts, segment.completions)
        mask = rows.mask()
        sampler = rows.padded(mx.array([value for row in segment.sampler_logprobs for value in row]))
        advantages = mx.array(segment.advantages)  # [batch]
        reference = self._reference_logprobs(rows)

        def objective(_: dict) -> tuple[mx.array, mx.array]:
            policy = self._logprobs(rows)
            loss = policy_loss(
                policy,
                sampler,
                advantages,
                mask,
                loss_type=config.loss_type,
                clip_low=config.epsilon,
                clip_high=config.clip_high,
                dual_clip=config.delta,
                importance=config.importance_sampling_level,
                reference_logprobs=reference,
                beta=config.beta,
                max_completion_length=config.max_completion_length,
                denominator=denominator,
            )
            return loss, policy

        (loss, policy), gradient = nn.value_and_grad(self.policy.model, objective)({})
        flat = dict(tree_flatten(gradient))
        sums = self._sums(policy, sampler, reference, advantages, mask)
        mx.eval(loss, flat, sums)
        return Scored(_number(loss), flat, {name: _number(value) for name, value in sums.items()})

    def _logprobs(self, rows: Rows) -> mx.array:
        return completion_logprobs(
            self.policy, rows, temperature=self.config.temperature, chunk_tokens=self.config.logits_chunk
        )

    def _reference_logprobs(self, rows: Rows) -> mx.array | None:
        """[batch, time] without gradient; None when beta is 0, then no reference is run."""
        if self.config.beta == 0:
            return None
        self.policy.model.eval()
        with self.policy.as_reference():
            logprobs = mx.stop_gradient(self._logprobs(rows))
            mx.eval(logprobs)
        self.policy.model.train()
        return logprobs

    def _sums(
        self, policy: mx.array, sampler: mx.array, reference: mx.array | None, advantages: mx.array, mask: mx.array
    ) -> dict[str, mx.array]:
        config = self.config
        low, high = clip_fractions(
            policy,
            sampler,
            advantages,
            mask,
            clip_low=1.0 if config.loss_type == "cispo" else config.epsilon,
            clip_high=config.clip_high - (config.loss_type == "cispo"),
            importance="sequence" if config.loss_type == "gspo" else config.importance_sampling_level,
        )
        difference = mx.abs(policy - sampler) * mask
        sums = {
            "tokens": mask.sum(),
            "clip_low": low,
            "clip_high": high,
            "difference": difference.sum(),
            "mismatch_k3": (kl.k3(policy, sampler) * mask).sum(),
        }
        if reference is not None:
            sums["kl"] = (kl.k3(policy, reference) * mask).sum()
        return sums

    def _metrics(self, totals: Counter[str], norms: Sequence[float], step: int) -> dict[str, float]:
        tokens = max(totals["tokens"], 1)
        metrics = {
            "loss": totals["loss"] / len(norms),
            "grad_norm": sum(norms) / len(norms),
            "learning_rate": learning_rate(self.config, step),
            "clip_ratio/low_mean": totals["clip_low"] / tokens,
            "clip_ratio/high_mean": totals["clip_high"] / tokens,
            "clip_ratio/region_mean": (totals["clip_low"] + totals["clip_high"]) / tokens,
            "sampling/sampling_logp_difference/mean": totals["difference"] / tokens,
            "sampling/mismatch_k3": totals["mismatch_k3"] / tokens,
            "updates/dropped": totals["dropped_updates"],
            "updates/skipped": totals["skipped_updates"],
        }
        if self.config.beta > 0:
            metrics["kl"] = totals["kl"] / tokens
        return metrics


def _number(scalar: mx.array) -> float:
    return float(scalar.item())  # type: ignore[arg-type]
