"""Loss and gradient of one bundle of micro-batches: which passes run, on which lane, and what is kept between them.

What the loss is, the objective says.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from grpo.attention.trunk import prompt_parts
from grpo.config import Config
from grpo.cpu.fusion import fused_gradients
from grpo.cpu.lanes import evaluate, lane, lanes, on_lanes, side_by_side
from grpo.learner.batching import keeps_prompts
from grpo.learner.cutting import CutRows, LazyScored
from grpo.metrics import EXPERTS
from grpo.model.experts import Ear, records
from grpo.model.forward import (
    PromptStates,
    Rows,
    completion_logprobs,
    completion_scores,
    rows_of,
    run_prompts,
    sum_trees,
)
from grpo.model.policy import Policy
from grpo.model.spans import SpannedRow
from grpo.ranks import here
from grpo.reduce import StepCounts
from grpo.types import Group, LossInputs, Segment


class Differentiable(Protocol):
    """The objective to minimise, as `grpo.objective.Objective` does it."""

    @property
    def config(self) -> Config:
        """The config the loss reads."""

    @property
    def has_reference(self) -> bool:
        """Return whether the loss needs the reference's logprobs."""

    def advantages(self, segment: Segment, rows: Rows) -> mx.array:
        """Return the advantages of a micro-batch, [batch] or [batch, time]."""

    @property
    def needs_entropies(self) -> bool:
        """Return whether the loss needs each token's entropy and its gradient."""

    def __call__(self, inputs: LossInputs, counts: StepCounts) -> tuple[mx.array, dict[str, mx.array]]:
        """Return the micro-batch's share of the step's loss, a scalar, and sums of the loss's own metrics."""

    def sums(self, inputs: LossInputs) -> dict[str, mx.array]:
        """Return sums over the micro-batch's tokens for the metrics."""


@dataclass(frozen=True)
class Scored:
    """Share of the loss, gradient and metric sums of one or several micro-batches."""

    loss: float
    gradient: dict[str, mx.array]
    sums: dict[str, float]


class _Prompts(NamedTuple):
    """The states that a bundle's prompts leave behind; all None where every segment runs its own."""

    policy: PromptStates | None = None
    reference: PromptStates | None = None
    row: SpannedRow | None = None  # of a prompt that ran in spans


class Gradients:
    """Differentiates an objective for one bundle of micro-batches after another."""

    def __init__(self, policy: Policy, config: Config, objective: Differentiable) -> None:
        self.policy, self.config, self.objective = policy, config, objective
        self.lanes = 1 if config.fine_tune == "full" else lanes()  # two gradients of all weights are too much
        self.cut = CutRows(self)
        self._dropout_seed = 0  # of adapter dropout, the only draw on the device; another for every bundle

    def start(self, step: int) -> None:
        """Draw the dropout of this step's bundles from the seed and the step; each rank draws its own."""
        self._dropout_seed = (self.config.seed << 32) + (step << 16) + (here().rank << 11)

    def loss_and_gradient(self, bundle: Sequence[Segment], counts: StepCounts) -> Scored:
        """Return these micro-batches' share of the step's loss, d(loss)/d(trainable), and their metric sums.

        Several segments of the same prompts have them run once: their states go into every segment as inputs, and the
        gradient that gathers there goes through the prompts at the end. Short prompts keep their activations until
        then, long ones (and those of more segments than run at a time) are run again. What is longer than token_budget
        is run in spans.
        """
        with fused_gradients():
            return self._bundle(bundle, counts)

    def _bundle(self, bundle: Sequence[Segment], counts: StepCounts) -> Scored:
        self._dropout_seed += 1
        if self.config.merge_adapter and self.policy.learns_merged:
            self.policy.merge()
        of_one_group = self.policy.shares_prefixes and len({segment.prompts for segment in bundle}) == 1
        cut = [segment for segment in bundle if of_one_group and self.cut.cuts(segment.completions[-1])]
        whole = [segment for segment in bundle if segment not in cut]
        long_prompt = of_one_group and self.cut.cuts(bundle[0].prompts[0])
        shared = of_one_group and (len(bundle) > 1 or bool(cut) or long_prompt)
        mx.random.seed(self._dropout_seed)
        tokens = sum(map(len, bundle[0].prompts))
        if (
            shared
            and not cut
            and keeps_prompts(len(bundle), tokens, token_budget=self.config.token_budget, lanes=self.lanes)
        ):
            return self._with_prompts_kept(bundle, counts)
        prompts = self._prompt_states(bundle[0].prompts, long_prompt) if shared else _Prompts()
        scored: list[Scored] = []
        pulled: list[mx.array] = []
        for lazy in itertools.chain(self._waves(whole, counts, prompts), self._cut_waves(cut, counts, prompts)):
            scored += map(_scored, lazy)
            if shared:
                pulled = _sums([*([pulled] if pulled else []), *(one.pulled for one in lazy)])
                mx.eval(pulled)
        if shared:
            scored.append(Scored(0.0, self._through_prompts(bundle[0], prompts, pulled), {}))
        return _added(scored)

    def _waves(
        self, segments: Sequence[Segment], counts: StepCounts, prompts: "_Prompts"
    ) -> Iterator[list[LazyScored]]:
        """Differentiate whole rows, as many micro-batches at a time as there are lanes."""
        references = self._references(segments, prompts.reference)
        for start in range(0, len(segments), self.lanes):
            wave = slice(start, start + self.lanes)
            yield side_by_side(
                [
                    partial(self._differentiate, segment, reference, counts, prompts.policy)
                    for segment, reference in zip(segments[wave], references[wave], strict=True)
                ]
            )

    def _cut_waves(
        self, segments: Sequence[Segment], counts: StepCounts, prompts: "_Prompts"
    ) -> Iterator[list[LazyScored]]:
        """Differentiate rows that are cut, each a micro-batch."""
        for start in range(0, len(segments), self.lanes):
            assert prompts.policy is not None
            wave, seed = segments[start : start + self.lanes], self._dropout_seed + (start << 40)
            yield self.cut.differentiate(wave, counts, prompts.policy, prompts.reference, seed)

    def _with_prompts_kept(self, bundle: Sequence[Segment], counts: StepCounts) -> Scored:
        """Run the prompts once and keep their activations for the backward pass.

        The whole bundle is put together inside that gradient, and evaluated piece after piece when it is complete: an
        evaluation inside a gradient would also keep all that the micro-batches come to.
        """
        model, trained = self.policy.model, self.policy.trainable()
        reference_states: list[mx.array] = []
        references: list[mx.array | None] = [None] * len(bundle)
        if self.objective.has_reference:
            with self.as_reference():
                with lane(1):
                    reference = run_prompts(self.policy, bundle[0].prompts)
                reference_states = reference.arrays
                references = [*on_lanes(self._reference_passes(bundle, reference))]
        states: list[mx.array] = []
        lazy: list[LazyScored] = []

        def through(*leaves: mx.array) -> mx.array:
            model.update(tree_unflatten(list(zip(trained, leaves, strict=True))))
            with lane(0):
                prompts = run_prompts(self.policy, bundle[0].prompts)
            states.extend(prompts.arrays)
            model.update(tree_unflatten(list(trained.items())))
            given = prompts.holding([mx.stop_gradient(state) for state in states])
            pairs = zip(bundle, references, strict=True)
            lazy.extend(on_lanes([partial(self._differentiate, *pair, counts, given) for pair in pairs]))
            pulled = _sums([one.pulled for one in lazy])
            return mx.stack(
                [(state * mx.stop_gradient(by)).sum() for state, by in zip(states, pulled, strict=True)]
            ).sum()

        gradient = mx.grad(through, argnums=list(range(len(trained))))(*trained.values())
        evaluate([states, reference_states])
        if self.objective.has_reference:
            evaluate(references)
        evaluate(lazy)
        mx.eval(gradient)
        return _added([*map(_scored, lazy), Scored(0.0, dict(zip(trained, gradient, strict=True)), {})])

    def _prompt_states(self, prompts: Sequence[Sequence[int]], long: bool) -> "_Prompts":
        """Return the prompt states of the policy and, with a KL term, of the reference; neither has a gradient.

        A `long` prompt, which is alone, runs in spans.
        """
        if long:
            reference_states = None
            if self.objective.has_reference:
                with self.as_reference():
                    reference_states = self.cut.prompt(prompts[0], self._dropout_seed).states
            row = self.cut.prompt(prompts[0], self._dropout_seed)
            return _Prompts(row.states, reference_states, row)
        parts = self._prompt_parts(prompts)

        def policy() -> PromptStates:
            states = run_prompts(self.policy, prompts, parts)
            return states.holding([mx.stop_gradient(array) for array in states.arrays])

        def reference() -> PromptStates:
            with self.as_reference():
                return policy()

        made = on_lanes([policy, reference] if self.objective.has_reference else [policy])
        evaluate([states.arrays for states in made], max(parts, len(made)))
        return _Prompts(made[0], made[1] if len(made) > 1 else None)

    def _prompt_parts(self, prompts: Sequence[Sequence[int]]) -> int:
        """Return the number of parts in which prompts run apart from their completions."""
        return prompt_parts(len(prompts), max(map(len, prompts))) if self.lanes > 1 else 1

    def _through_prompts(
        self, segment: Segment, prompts: "_Prompts", pulled: Sequence[mx.array]
    ) -> dict[str, mx.array]:
        """Carry the gradient of the prompts' states back to the trained weights."""
        if prompts.row is not None:
            return self.cut.through_prompt(prompts.row, pulled)
        model, trained, parts = self.policy.model, self.policy.trainable(), self._prompt_parts(segment.prompts)

        def states(*leaves: mx.array) -> list[mx.array]:
            model.update(tree_unflatten(list(zip(trained, leaves, strict=True))))
            return run_prompts(self.policy, segment.prompts, parts).arrays

        mx.random.seed(self._dropout_seed)  # drops what was dropped when the states were made
        gradient = mx.vjp(states, list(trained.values()), list(pulled))[1]
        model.update(tree_unflatten(list(trained.items())))
        evaluate(gradient, parts)
        return dict(zip(trained, gradient, strict=True))

    def _references(self, bundle: Sequence[Segment], states: PromptStates | None) -> list[mx.array | None]:
        """Return the reference's logprobs of each micro-batch, [batch, time], without gradient; None without KL."""
        if not self.objective.has_reference:
            return [None] * len(bundle)
        logprobs: list[mx.array | None] = []
        with self.as_reference():
            for start in range(0, len(bundle), self.lanes):
                logprobs += side_by_side(self._reference_passes(bundle[start : start + self.lanes], states))
        return logprobs

    def _reference_passes(
        self, segments: Sequence[Segment], states: PromptStates | None
    ) -> list[Callable[[], mx.array]]:
        """Return one function a micro-batch that computes its logprobs while the network is the reference."""

        def logprobs(segment: Segment) -> mx.array:
            rows = Rows.of(segment)
            return mx.stop_gradient(self._logprobs(rows, states, gradient=False))

        return [partial(logprobs, segment) for segment in segments]

    def inputs(self, segment: Segment, reference: mx.array | None) -> Callable[..., LossInputs]:
        """Return a function of the policy's logprobs and entropies that makes the loss's inputs."""
        rows = Rows.of(segment)
        return partial(
            LossInputs,
            sampler_logprobs=rows.padded(mx.array(rows.trained(segment.sampler_logprobs))),
            reference_logprobs=reference,
            advantages=self.objective.advantages(segment, rows),
            mask=rows.mask(),
            config=self.objective.config,
            proximal_logprobs=self._given(rows, segment.proximal_logprobs),
            penalised=self._given(rows, segment.penalised),
        )

    def _differentiate(
        self, segment: Segment, reference: mx.array | None, counts: StepCounts, states: PromptStates | None
    ) -> LazyScored:
        """Put together one micro-batch's loss, gradient and metric sums."""
        objective, model, rows = self.objective, self.policy.model, Rows.of(segment)
        inputs_of = self.inputs(segment, reference)
        sampled = self.sampled_experts(segment, rows.width)
        ear = None if sampled is None else Ear(sampled if self.config.routing_replay else None)

        def loss_of(
            trained: dict, arrays: list[mx.array]
        ) -> tuple[mx.array, mx.array, mx.array | None, dict[str, mx.array]]:
            model.update(trained)
            given = states.holding(arrays) if states else None
            policy, entropies = (
                self._scores(rows, given, ear)
                if objective.needs_entropies
                else (
                    self._logprobs(rows, given, ear=ear),
                    None,
                )
            )
            loss, sums = objective(inputs_of(policy_logprobs=policy, entropies=entropies), counts)
            return loss, policy, entropies, sums

        trained, arrays = model.trainable_parameters(), states.arrays if states else []
        (loss, policy, entropies, sums), (gradient, pulled) = mx.value_and_grad(loss_of, argnums=(0, 1))(
            trained, arrays
        )
        model.update(trained)
        sums |= objective.sums(inputs_of(policy_logprobs=policy, entropies=entropies))
        if ear is not None and sampled is not None and ear.heard:
            sums |= dict(zip(EXPERTS, ear.agreement(sampled), strict=True))
        return LazyScored(loss, dict(tree_flatten(gradient)), pulled, sums)

    def sampled_experts(self, segment: Segment, width: int) -> mx.array | None:
        """Return the experts that the sampler chose, [batch, width, mixtures, chosen]; None where it told none."""
        return None if segment.experts is None else records(segment.experts, width)

    def _logprobs(
        self, rows: Rows, states: PromptStates | None, *, gradient: bool = True, ear: Ear | None = None
    ) -> mx.array:
        return completion_logprobs(
            self.policy,
            rows,
            temperature=self.config.temperature,
            chunk_tokens=self.config.logits_chunk,
            states=states,
            gradient=gradient,
            ear=ear,
        )

    def proximal_logprobs(self, group: Group) -> list[tuple[float, ...]]:
        """Return the logprobs of a group's completions as the network gives them now, without dropout."""
        completions, found = [rollout.tokens for rollout in group.rollouts], list[tuple[float, ...]]()
        size = max(1, self.config.token_budget // max(map(len, completions)))
        self.policy.model.eval()
        for start in range(0, len(completions), size):
            part = completions[start : start + size]
            values = np.array(self._logprobs(rows_of([group.prompt.tokens], part), None, gradient=False))
            found += [tuple(row[: len(tokens)].tolist()) for row, tokens in zip(values, part, strict=True)]
        self.policy.model.train()
        return found

    def _given(self, rows: Rows, values: Sequence[Sequence[float]] | None) -> mx.array | None:
        """[batch][time] -> [batch, time]; None stays None."""
        return None if values is None else rows.padded(mx.array(rows.trained(values)).astype(mx.float32))

    def _scores(self, rows: Rows, states: PromptStates | None, ear: Ear | None = None) -> tuple[mx.array, mx.array]:
        """Return logprobs and entropies of the completion tokens, [batch, time], both with a gradient."""
        return completion_scores(
            self.policy,
            rows,
            temperature=self.config.temperature,
            chunk_tokens=self.config.logits_chunk,
            states=states,
            ear=ear,
        )

    @contextlib.contextmanager
    def as_reference(self) -> Iterator[None]:
        """Within this context, the network is the reference and dropout is off."""
        self.policy.model.eval()
        with self.policy.as_reference():
            yield
        self.policy.model.train()


def _added(several: Sequence[Scored]) -> Scored:
    """Add up the shares of one loss."""
    loss, gradient, sums = 0.0, None, Counter[str]()
    for one in several:
        loss += one.loss
        gradient = sum_trees(gradient, one.gradient)
        sums.update(one.sums)
    assert gradient is not None
    return Scored(loss, gradient, dict(sums))


def _scored(lazy: LazyScored) -> Scored:
    return Scored(_number(lazy.loss), lazy.gradient, {name: _number(value) for name, value in lazy.sums.items()})


def _sums(lists: Sequence[Sequence[mx.array]]) -> list[mx.array]:
    """Add lists of arrays element by element."""
    return [sum(arrays[1:], arrays[0]) for arrays in zip(*lists, strict=True)]


def _number(scalar: mx.array) -> float:
    return float(scalar.item())  # type: ignore[arg-type]
