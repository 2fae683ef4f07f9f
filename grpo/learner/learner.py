"""One optimizer step.

From groups and their advantages to changed weights. The loss itself is grpo.losses.policy_loss.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from grpo import kl
from grpo.attention.caches import prompt_parts
from grpo.config import Config
from grpo.cpu.fusion import fused_gradients
from grpo.cpu.lanes import evaluate, lane, lanes, on_lanes, side_by_side
from grpo.learner.batching import keeps_prompts, pack
from grpo.learner.optimizer import Optimizer, learning_rate
from grpo.losses import clip_fractions, policy_loss, step_denominator
from grpo.model.forward import PromptStates, Rows, completion_logprobs, run_prompts, sum_trees
from grpo.model.policy import Policy
from grpo.types import Credit, Group, Segment


@dataclass(frozen=True)
class Scored:
    """What a micro-batch added up to: its share of the loss, its gradient, and sums over its tokens for the metrics."""

    loss: float
    gradient: dict[str, mx.array]
    sums: dict[str, float]


class _Share(NamedTuple):
    """What a micro-batch comes to, as arrays that may have yet to be evaluated."""

    loss: mx.array
    gradient: dict[str, mx.array]
    pulled: list[mx.array]  # the gradient by its prompts' states, if they were run beforehand
    sums: dict[str, mx.array]


class Learner:
    """Turns rollout batches into optimizer updates."""

    def __init__(self, policy: Policy, config: Config) -> None:
        self.policy, self.config = policy, config
        self.optimizer = Optimizer(policy, config)
        self.lanes = 1 if config.fine_tune == "full" else lanes()  # two gradients of all weights are too much
        self._dropout_seed = 0  # of adapter dropout, the only draw on the device; another for every bundle

    def learn(self, groups: Sequence[Group], advantages: Sequence[Sequence[Credit]], step: int) -> dict[str, float]:
        """Every update of one rollout batch; returns the step's metrics.

        The batch is gone through num_iterations times in num_updates equal shares. From the second update on the
        policy is no longer the one that sampled, and the ratio to sampler_logprobs says by how much.
        """
        share = len(groups) // self.config.num_updates
        totals: Counter[str] = Counter()
        norms: list[float] = []
        self._dropout_seed = (self.config.seed << 32) + (step << 16)
        self.policy.model.train()
        for _ in range(self.config.num_iterations):
            for start in range(0, len(groups), share):
                part = slice(start, start + share)
                loss, norm, sums = self._update(groups[part], advantages[part], step)
                totals.update({"loss": loss, **sums})
                norms.append(norm)
        self.policy.unmerge()
        self.policy.model.eval()
        return self._metrics(totals, norms, step)

    def _update(
        self, groups: Sequence[Group], advantages: Sequence[Sequence[Credit]], step: int
    ) -> tuple[float, float, dict[str, float]]:
        bundles = pack(
            groups,
            advantages,
            token_budget=self.config.token_budget,
            lanes=self.lanes,
            keep_truncated=not self.config.mask_truncated_completions,
            keep_zero=self.config.beta > 0,
        )
        lengths = self._trained_lengths(groups)
        denominator = step_denominator(
            lengths, loss_type=self.config.loss_type, max_completion_length=self.config.max_completion_length
        )
        loss, gradient, sums = 0.0, None, Counter[str]()
        for bundle in bundles:
            scored = self.loss_and_gradient(bundle, denominator)
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
        """Return the token count of each completion for the step's denominator.

        Rows with advantage 0 count too.
        """
        dropped = self.config.mask_truncated_completions
        return [
            0 if dropped and r.stop_reason == "length" else len(r.tokens) for group in groups for r in group.rollouts
        ]

    def loss_and_gradient(self, bundle: Sequence[Segment], denominator: float) -> Scored:
        """These micro-batches' share of the step's loss, d(loss)/d(trainable), and their metric sums.

        Several segments of the same prompts have them run once: their states go into every segment as inputs, and the
        gradient that gathers there goes through the prompts at the end. Short prompts keep their activations until
        then, long ones (and those of more segments than run at a time) are run again.
        """
        with fused_gradients():
            return self._bundle(bundle, denominator)

    def _bundle(self, bundle: Sequence[Segment], denominator: float) -> Scored:
        self._dropout_seed += 1
        if self.config.merge_adapter and self.policy.learns_merged:
            self.policy.merge()
        shared = len(bundle) > 1 and self.policy.shares_prefixes and len({part.prompts for part in bundle}) == 1
        mx.random.seed(self._dropout_seed)
        tokens = sum(map(len, bundle[0].prompts))
        if shared and keeps_prompts(len(bundle), tokens, token_budget=self.config.token_budget, lanes=self.lanes):
            return self._with_prompts_kept(bundle, denominator)
        states, reference_states = self._prompt_states(bundle[0].prompts) if shared else (None, None)
        references = self._references(bundle, reference_states)
        parts: list[Scored] = []
        pulled: list[mx.array] = []
        for start in range(0, len(bundle), self.lanes):
            wave = slice(start, start + self.lanes)
            shares = side_by_side(
                [
                    partial(self._share, segment, reference, denominator, states)
                    for segment, reference in zip(bundle[wave], references[wave], strict=True)
                ]
            )
            parts += map(_scored, shares)
            if shared:
                pulled = _sums([*([pulled] if pulled else []), *(share.pulled for share in shares)])
                mx.eval(pulled)
        if shared:
            parts.append(Scored(0.0, self._through_prompts(bundle[0], pulled), {}))
        return _added(parts)

    def _with_prompts_kept(self, bundle: Sequence[Segment], denominator: float) -> Scored:
        """The prompts run once and what their gradient needs of that is kept.

        The whole bundle is put together inside that gradient, and evaluated part after part when it is complete: an
        evaluation inside a gradient would also keep all that the micro-batches come to.
        """
        model, trained = self.policy.model, self.policy.trainable()
        reference_states: list[mx.array] = []
        references: list[mx.array | None] = [None] * len(bundle)
        if self.config.beta > 0:
            with self._reference():
                with lane(1):
                    reference_states = run_prompts(self.policy, bundle[0].prompts).arrays
                references = [*on_lanes(self._reference_parts(bundle, PromptStates.of(reference_states)))]
        states: list[mx.array] = []
        shares: list[_Share] = []

        def through(*leaves: mx.array) -> mx.array:
            model.update(tree_unflatten(list(zip(trained, leaves, strict=True))))
            with lane(0):
                states.extend(run_prompts(self.policy, bundle[0].prompts).arrays)
            model.update(tree_unflatten(list(trained.items())))
            given = PromptStates.of([mx.stop_gradient(part) for part in states])
            parts = zip(bundle, references, strict=True)
            shares.extend(on_lanes([partial(self._share, *part, denominator, given) for part in parts]))
            pulled = _sums([share.pulled for share in shares])
            return mx.stack(
                [(part * mx.stop_gradient(by)).sum() for part, by in zip(states, pulled, strict=True)]
            ).sum()

        gradient = mx.grad(through, argnums=list(range(len(trained))))(*trained.values())
        evaluate([states, reference_states])
        if self.config.beta > 0:
            evaluate(references)
        evaluate(shares)
        mx.eval(gradient)
        return _added([*map(_scored, shares), Scored(0.0, dict(zip(trained, gradient, strict=True)), {})])

    def _prompt_states(self, prompts: Sequence[Sequence[int]]) -> tuple[PromptStates, PromptStates | None]:
        """Of the policy, and of the reference if there is a KL term; without a gradient of their own."""

        parts = self._parts(prompts)

        def policy() -> list[mx.array]:
            return [mx.stop_gradient(array) for array in run_prompts(self.policy, prompts, parts).arrays]

        def reference() -> list[mx.array]:
            with self._reference():
                return policy()

        made = on_lanes([policy, reference] if self.config.beta > 0 else [policy])
        evaluate(made, max(parts, len(made)))
        return PromptStates.of(made[0]), PromptStates.of(made[1]) if len(made) > 1 else None

    def _parts(self, prompts: Sequence[Sequence[int]]) -> int:
        """In how many parts prompts run apart from their completions."""
        return prompt_parts(len(prompts), max(map(len, prompts))) if self.lanes > 1 else 1

    def _through_prompts(self, segment: Segment, pulled: Sequence[mx.array]) -> dict[str, mx.array]:
        """The gradient that reaches the trained weights through the prompts' states, given that of the states."""
        model, trained, parts = self.policy.model, self.policy.trainable(), self._parts(segment.prompts)

        def states(*leaves: mx.array) -> list[mx.array]:
            model.update(tree_unflatten(list(zip(trained, leaves, strict=True))))
            return run_prompts(self.policy, segment.prompts, parts).arrays

        mx.random.seed(self._dropout_seed)  # drops what was dropped when the states were made
        gradient = mx.vjp(states, list(trained.values()), list(pulled))[1]
        model.update(tree_unflatten(list(trained.items())))
        evaluate(gradient, parts)
        return dict(zip(trained, gradient, strict=True))

    def _references(self, bundle: Sequence[Segment], states: PromptStates | None) -> list[mx.array | None]:
        """The reference's logprobs for each micro-batch, [batch, time], without gradient; None without a KL term."""
        if self.config.beta == 0:
            return [None] * len(bundle)
        logprobs: list[mx.array | None] = []
        with self._reference():
            for start in range(0, len(bundle), self.lanes):
                logprobs += side_by_side(self._reference_parts(bundle[start : start + self.lanes], states))
        return logprobs

    def _reference_parts(
        self, segments: Sequence[Segment], states: PromptStates | None
    ) -> list[Callable[[], mx.array]]:
        """What makes each micro-batch's logprobs while the network is the reference."""

        def logprobs(segment: Segment) -> mx.array:
            rows = Rows(segment.prompts, segment.completions)
            return mx.stop_gradient(self._logprobs(rows, states, gradient=False))

        return [partial(logprobs, segment) for segment in segments]

    def _share(
        self, segment: Segment, reference: mx.array | None, denominator: float, states: PromptStates | None
    ) -> "_Share":
        config, model, rows = self.config, self.policy.model, Rows(segment.prompts, segment.completions)
        mask = rows.mask()
        sampler = rows.padded(mx.array([value for row in segment.sampler_logprobs for value in row]))
        advantages = _credit(segment, rows)

        def objective(trained: dict, arrays: list[mx.array]) -> tuple[mx.array, mx.array]:
            model.update(trained)
            policy = self._logprobs(rows, PromptStates.of(arrays) if arrays else None)
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

        trained, arrays = model.trainable_parameters(), states.arrays if states else []
        (loss, policy), (gradient, pulled) = mx.value_and_grad(objective, argnums=(0, 1))(trained, arrays)
        model.update(trained)
        sums = self._metric_sums(policy, sampler, reference, advantages, mask)
        return _Share(loss, dict(tree_flatten(gradient)), pulled, sums)

    def _logprobs(self, rows: Rows, states: PromptStates | None, *, gradient: bool = True) -> mx.array:
        return completion_logprobs(
            self.policy,
            rows,
            temperature=self.config.temperature,
            chunk_tokens=self.config.logits_chunk,
            states=states,
            gradient=gradient,
        )

    @contextlib.contextmanager
    def _reference(self) -> Iterator[None]:
        """Inside, the network is the reference and drops nothing."""
        self.policy.model.eval()
        with self.policy.as_reference():
            yield
        self.policy.model.train()

    def _metric_sums(
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


def _credit(segment: Segment, rows: Rows) -> mx.array:
    """The advantages of a micro-batch, [batch], or [batch, time] where every token has its own."""
    if isinstance(segment.advantages[0], tuple):
        return rows.padded(mx.array([value for row in segment.advantages for value in row]))  # type: ignore[union-attr]
    return mx.array(segment.advantages)


def _added(parts: Sequence[Scored]) -> Scored:
    """Shares of one loss as one."""
    loss, gradient, sums = 0.0, None, Counter[str]()
    for part in parts:
        loss += part.loss
        gradient = sum_trees(gradient, part.gradient)
        sums.update(part.sums)
    assert gradient is not None
    return Scored(loss, gradient, dict(sums))


def _scored(share: _Share) -> Scored:
    return Scored(_number(share.loss), share.gradient, {name: _number(value) for name, value in share.sums.items()})


def _sums(lists: Sequence[Sequence[mx.array]]) -> list[mx.array]:
    """Element by element."""
    return [sum(arrays[1:], arrays[0]) for arrays in zip(*lists, strict=True)]


def _number(scalar: mx.array) -> float:
    return float(scalar.item())  # type: ignore[arg-type]
