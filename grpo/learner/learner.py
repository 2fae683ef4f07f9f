"""Update the policy: pack the groups, add up the objective's gradient, move the weights, report metrics."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import mlx.core as mx

from grpo import kl
from grpo.algorithms.shaping import shaped
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.learner.batching import pack
from grpo.learner.controls import CAP, MISMATCH, Controls
from grpo.learner.gradients import Gradients
from grpo.learner.optimizer import Optimizer
from grpo.learner.summing import over_ranks
from grpo.metrics import learner_metrics
from grpo.model.forward import sum_trees
from grpo.model.policy import Policy
from grpo.model.recompute import recompute_blocks
from grpo.objective import Objective
from grpo.ranks import here
from grpo.ranks.alone import RankLost
from grpo.ranks.share import own_rows
from grpo.types import Credit, Group, LossFunction


class Learner:
    """Turns rollout batches into optimizer updates."""

    def __init__(self, policy: Policy, config: Config, loss: LossFunction | None = None) -> None:
        self.policy, self.config = policy, config
        if config.gradient_checkpointing is True:  # chosen by the memory plan, when the network was there already
            recompute_blocks(policy.model)
        if config.routing_replay:
            _allow_replay(policy)
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
            groups = self._with_proximal(groups)
        self.gradients.start(step)
        self.policy.model.train()
        metrics: dict[str, float] = {}
        with self._all_or_none(), here().uninterrupted():
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
        if here().size > 1:
            metrics["ranks/corrected"] = float(totals["ranks_corrected"])
        entropies = [value for group in groups for r in group.rollouts for value in r.trained(r.entropies)]
        self.controls = self.controls.after(
            self.config, kl=metrics.get("kl", 0.0), entropy=sum(entropies) / max(len(entropies), 1)
        )
        return metrics

    def compare_with_sampler(self, groups: Sequence[Group]) -> str | None:
        """Measure how far the sampler is from the trainer on the first group of a batch, if auto is to decide by it.

        Return what there is to say if they disagree; tokens are weighed from now on. Call it before `learn`.
        """
        if not self.controls.asks_mismatch(self.config):
            return None
        (rows,) = here().spread(groups[:1], self.gradients.proximal_logprobs)
        trained = [
            (policy, sampler)
            for rollout, row in zip(groups[0].rollouts, rows, strict=True)
            for policy, sampler in zip(rollout.trained(row), rollout.trained(rollout.logprobs), strict=True)
        ]
        policy, sampler = mx.array(trained).T
        k3 = float(kl.k3(policy, sampler).mean().item())  # type: ignore[arg-type]
        self.controls = replace(self.controls, mismatch=k3)
        if not self.controls.disagree:
            return None
        return (
            f"warning: sampler and trainer disagree about {len(trained)} tokens of the first batch (mean k3 "
            f"{k3:.2g} nats, above {MISMATCH:g}): tokens are weighed by how much likelier the trainer makes them, at "
            f"most {CAP:g} times (importance_sampling_cap: none = not)"
        )

    def _with_proximal(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups with their tokens' logprobs under the policy as it is now."""
        found = []
        for group, rows in zip(groups, here().spread(groups, self.gradients.proximal_logprobs), strict=True):
            pairs = zip(group.rollouts, rows, strict=True)
            rollouts = tuple(replace(rollout, proximal_logprobs=tuple(row)) for rollout, row in pairs)
            found.append(replace(group, rollouts=rollouts))
        return found

    @contextlib.contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Within this context, a lost rank leaves the weights as they were before the step, not between two updates."""
        several = here().processes > 1 and self.config.num_updates * self.config.num_iterations > 1
        kept = (self.policy.trainable(), self.optimizer.state()) if several else None
        try:
            yield
        except RankLost:
            self.policy.unmerge()
            if kept is not None:
                self.policy.load_trainable(kept[0])
                self.optimizer.load_state(kept[1])
            raise

    def with_logprobs(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups, the first completions_logprobs of them with the logprobs of policy and reference."""
        number = self.config.completions_logprobs
        return [*map(self._with_logprobs, groups[:number]), *groups[number:]]

    def _with_logprobs(self, group: Group) -> Group:
        policy = self.gradients.proximal_logprobs(group)
        reference: Sequence[tuple[float, ...] | None] = [None] * len(policy)
        if self.objective.has_reference:
            with self.policy.as_reference():
                reference = self.gradients.proximal_logprobs(group)
        self.policy.model.eval()
        each = zip(group.rollouts, policy, reference, strict=True)
        rollouts = [replace(one, policy_logprobs=own, reference_logprobs=other) for one, own, other in each]
        return replace(group, rollouts=tuple(rollouts))

    def _update(
        self, groups: Sequence[Group], advantages: Sequence[Sequence[Credit]], step: int
    ) -> tuple[float, float, dict[str, float]]:
        """Return the loss, gradient norm and metric sums of one update; over ranks each adds what its rows give."""
        ranks, keep_zero = here(), self.objective.keeps_zero
        size = 1 if ranks.sharded else ranks.size
        own, credits = own_rows(groups, advantages, rank=ranks.rank, size=size, keep_zero=keep_zero)
        bundles = pack(
            own,
            credits,
            token_budget=self.config.token_budget,
            lanes=self.gradients.lanes,
            keep_truncated=not self.config.mask_truncated_completions,
            keep_zero=keep_zero,
        )
        counts = self.objective.counts(groups)
        loss, gradient, sums = 0.0, None, Counter[str]()
        for bundle in bundles:
            ranks.look()
            scored = self.gradients.loss_and_gradient(bundle, counts)
            loss += scored.loss
            gradient = sum_trees(gradient, scored.gradient)
            mx.eval(gradient)
            sums.update(scored.sums)
        if ranks.size > 1:
            gradient, loss, sums = over_ranks(self.policy, self.optimizer, gradient, loss, sums)
        if gradient is None:  # nothing to learn from: all rows equal, or all left out
            return 0.0, 0.0, {"skipped_updates": 1.0}
        norm, applied = self.optimizer.apply(gradient, loss, step)
        if not applied:
            return 0.0, 0.0, {"dropped_updates": 1.0}
        return loss, norm, dict(sums)


def _allow_replay(policy: Policy) -> None:
    """Let the routers be told which experts to take; ConfigError where there are none, or where they can't be."""
    if not policy.mixtures.sizes:
        raise ConfigError("routing_replay needs a mixture of experts, and this model has none")
    policy.mixtures.allow_replay(policy.trunk, policy.whole_caches())
    if policy.mixtures.replay_refused is not None:
        raise ConfigError(f"routing_replay is not possible with this architecture: {policy.mixtures.replay_refused}")
