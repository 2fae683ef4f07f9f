"""Update the policy: pack the groups, add up the objective's gradient, move the weights, report metrics."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx

from grpo.algorithms.shaping import shaped
from grpo.config import Config
from grpo.learner.batching import pack
from grpo.learner.controls import Controls
from grpo.learner.gradients import Gradients
from grpo.learner.optimizer import Optimizer
from grpo.metrics import learner_metrics
from grpo.model.forward import sum_trees
from grpo.model.policy import Policy
from grpo.model.recompute import recompute_blocks
from grpo.objective import Objective
from grpo.types import Credit, Group, LossFunction


class Learner:
    """Turns rollout batches into optimizer updates."""

    def __init__(self, policy: Policy, config: Config, loss: LossFunction | None = None) -> None:
        self.policy, self.config = policy, config
        if config.gradient_checkpointing is True:  # chosen by the memory plan, when the network was there already
            recompute_blocks(policy.model)
        self.objective = Objective(config, loss)
        self.gradients = Gradients(policy, config, self.objective)
        self.optimizer = Optimizer(policy, config)
        self.controls = Controls.of(config)

    def learn(self, groups: Sequence[Group], advantages: Sequence[Sequence[Credit]], step: int) -> dict[str, float]:
        """Make every update of one rollout batch and return the step's metrics.

        Each of num_iterations passes over the batch makes num_updates updates, on equal shares. From the second update
        on the policy is no longer the one that sampled, and the ratio to sampler_logprobs says by how much.
        """
        size = -(-len(groups) // self.config.num_updates)  # dynamic sampling may leave fewer groups than were asked for
        totals: Counter[str] = Counter()
        norms: list[float] = []
        first: dict[str, float] = {}  # sums of the update made before the policy has moved
        self.objective.config = self.controls.applied(self.config)
        if self.objective.needs_proximal:
            groups = [self._with_proximal(group) for group in groups]
        self.gradients.start(step)
        self.policy.model.train()
        metrics: dict[str, float] = {}
        for iteration in range(self.config.num_iterations):
            for start in range(0, len(groups), size):
                share, seeds = slice(start, start + size), (self.config.seed, 41, step, iteration, start)
                chosen, credits, metrics = shaped(groups[share], advantages[share], self.config, seeds)
                loss, norm, sums = self._update(chosen, credits, step)
                first = first or (sums if "tokens" in sums else {})
                totals.update({"loss": loss, **sums})
                norms.append(norm)
        self.policy.unmerge()
        self.policy.model.eval()
        metrics |= self.controls.metrics(self.config) | learner_metrics(totals, norms, self.config, step, first)
        entropies = [value for group in groups for r in group.rollouts for value in r.trained(r.entropies)]
        self.controls = self.controls.after(
            self.config, kl=metrics.get("kl", 0.0), entropy=sum(entropies) / max(len(entropies), 1)
        )
        return metrics

    def _with_proximal(self, group: Group) -> Group:
        """Return the group with its tokens' logprobs under the policy as it is now."""
        rows = self.gradients.proximal_logprobs(group)
        pairs = zip(group.rollouts, rows, strict=True)
        return replace(group, rollouts=tuple(replace(rollout, proximal_logprobs=row) for rollout, row in pairs))

    def _update(
        self, groups: Sequence[Group], advantages: Sequence[Sequence[Credit]], step: int
    ) -> tuple[float, float, dict[str, float]]:
        """Return the loss, gradient norm and metric sums of one update."""
        bundles = pack(
            groups,
            advantages,
            token_budget=self.config.token_budget,
            lanes=self.gradients.lanes,
            keep_truncated=not self.config.mask_truncated_completions,
            keep_zero=self.objective.keeps_zero,
        )
        counts = self.objective.counts(groups)
        loss, gradient, sums = 0.0, None, Counter[str]()
        for bundle in bundles:
            scored = self.gradients.loss_and_gradient(bundle, counts)
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
