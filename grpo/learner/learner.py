"""What an update is: pack the groups, add up the gradient of the objective, move the weights, report metrics."""

from collections import Counter
from collections.abc import Sequence

import mlx.core as mx

from grpo.config import Config
from grpo.learner.batching import pack
from grpo.learner.gradients import Gradients
from grpo.learner.optimizer import Optimizer
from grpo.metrics import learner_metrics
from grpo.model.forward import sum_trees
from grpo.model.policy import Policy
from grpo.objective import Objective
from grpo.types import Credit, Group, LossFunction


class Learner:
    """Turns rollout batches into optimizer updates."""

    def __init__(self, policy: Policy, config: Config, loss: LossFunction | None = None) -> None:
        self.policy, self.config = policy, config
        self.objective = Objective(config, loss)
        self.gradients = Gradients(policy, config, self.objective)
        self.optimizer = Optimizer(policy, config)

    def learn(self, groups: Sequence[Group], advantages: Sequence[Sequence[Credit]], step: int) -> dict[str, float]:
        """Make every update of one rollout batch and return the step's metrics.

        Each of num_iterations passes over the batch makes num_updates updates, on equal shares. From the second update
        on the policy is no longer the one that sampled, and the ratio to sampler_logprobs says by how much.
        """
        size = -(-len(groups) // self.config.num_updates)  # dynamic sampling may leave fewer groups than were asked for
        totals: Counter[str] = Counter()
        norms: list[float] = []
        self.gradients.start(step)
        self.policy.model.train()
        for _ in range(self.config.num_iterations):
            for start in range(0, len(groups), size):
                share = slice(start, start + size)
                loss, norm, sums = self._update(groups[share], advantages[share], step)
                totals.update({"loss": loss, **sums})
                norms.append(norm)
        self.policy.unmerge()
        self.policy.model.eval()
        return learner_metrics(totals, norms, self.config, step)

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
