"""Loss and gradient of rows that are longer than the token budget: cut along time, whatever the loss.

All spans run forwards for the row's logprobs. The loss is differentiated by those alone, and the spans run backwards.
The gradient is that of the whole row; the price is one more forward pass, as of gradient checkpointing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import mlx.core as mx
import numpy as np

from grpo.cpu.lanes import side_by_side
from grpo.metrics import EXPERTS
from grpo.model.chunks import chunked_logprobs, scores_with_entropy
from grpo.model.forward import PromptStates, Rows
from grpo.model.spans import SpannedRow
from grpo.reduce import StepCounts
from grpo.types import Segment

if TYPE_CHECKING:
    from grpo.learner.gradients import Gradients


class LazyScored(NamedTuple):
    """Loss, gradient and metric sums of one micro-batch; the arrays may still be lazy."""

    loss: mx.array
    gradient: dict[str, mx.array]
    pulled: list[mx.array]  # the gradient by its prompts' states, if they were run beforehand
    sums: dict[str, mx.array]


class CutRows:
    """Runs prompts and rows in spans, several rows side by side."""

    def __init__(self, gradients: "Gradients") -> None:
        self.gradients, self.policy, self.config = gradients, gradients.policy, gradients.config
        self.size = max(1, self.config.token_budget // gradients.lanes)

    def cuts(self, tokens: Sequence[int]) -> bool:
        """Return whether these tokens of a row, or of a prompt, are run in spans."""
        return len(tokens) > self.config.token_budget and self.policy.cut_refused is None

    def prompt(self, tokens: Sequence[int], seed: int) -> SpannedRow:
        """Run a prompt forwards."""
        row = SpannedRow(self.policy, tokens, self.size, seeds=lambda span: seed_of(seed, 0, span))
        _forwards([row])
        return row

    def through_prompt(self, row: SpannedRow, pulled: Sequence[mx.array]) -> dict[str, mx.array]:
        """Carry the gradient of a prompt's states back to the trained weights."""
        row.pull(pulled)
        return self._backwards([row], [[[] for _ in row.spans]])[0]

    def differentiate(
        self,
        segments: Sequence[Segment],
        counts: StepCounts,
        states: PromptStates,
        reference_states: PromptStates | None,
        seed: int,
    ) -> list[LazyScored]:
        """Return what `Gradients` finds out about each of these micro-batches of one row; all of it is evaluated."""
        references = self._references(segments, reference_states)
        rows = [self._row(segment, states, (seed, 1 + place)) for place, segment in enumerate(segments)]
        _forwards(rows)
        found, cotangents = [], []
        for segment, row, reference in zip(segments, rows, references, strict=True):
            loss, sums, slopes = self._loss(segment, row, reference, counts)
            found.append((loss, sums))
            cotangents.append(_by_span(row, slopes))
        gradients = self._backwards(rows, cotangents)
        return [
            LazyScored(loss, gradient, row.pulled, sums)
            for (loss, sums), gradient, row in zip(found, gradients, rows, strict=True)
        ]

    def _loss(
        self, segment: Segment, row: SpannedRow, reference: mx.array | None, counts: StepCounts
    ) -> tuple[mx.array, dict[str, mx.array], list[mx.array]]:
        """Return a row's loss, its metric sums, and the gradient by its scores, each [n]."""
        objective, inputs_of, layout = (
            self.gradients.objective,
            self.gradients.inputs(segment, reference),
            Rows.of(segment),
        )

        def loss_of(flat: list[mx.array]) -> tuple[mx.array, dict[str, mx.array]]:
            policy, *entropies = map(layout.padded, flat)
            inputs = inputs_of(policy_logprobs=policy, entropies=entropies[0] if entropies else None)
            loss, sums = objective(inputs, counts)
            return loss, sums | objective.sums(inputs)

        flat = [mx.concatenate(list(parts)) for parts in zip(*filter(None, row.scores), strict=True)]
        (loss, sums), slopes = mx.value_and_grad(loss_of)(flat)
        if row.agreement:
            agreed, compared = (mx.stack(list(parts)).sum() for parts in zip(*row.agreement, strict=True))
            sums |= dict(zip(EXPERTS, (agreed, compared), strict=True))
        return loss, sums, slopes

    def _references(self, segments: Sequence[Segment], states: PromptStates | None) -> list[mx.array | None]:
        """Return the reference's logprobs of each row, [1, time]; None without KL."""
        if states is None:
            return [None] * len(segments)
        with self.gradients.as_reference():
            rows = [self._row(segment, states, None, entropies=False) for segment in segments]
            _forwards(rows)
        return [
            Rows.of(segment).padded(mx.concatenate([part for (part,) in filter(None, row.scores)]))
            for segment, row in zip(segments, rows, strict=True)
        ]

    def _row(
        self, segment: Segment, states: PromptStates, seed: tuple[int, int] | None, *, entropies: bool = True
    ) -> SpannedRow:
        policy, config = self.policy, self.config
        with_entropies = entropies and self.gradients.objective.needs_entropies

        def score(hidden: mx.array, tokens: mx.array, gradient: bool) -> list[mx.array]:
            given = hidden, tokens, policy.project, policy.head_parameters()
            warmth, chunk = config.temperature, config.logits_chunk
            if with_entropies:
                return list(scores_with_entropy(*given, temperature=warmth, chunk_tokens=chunk))
            head = policy.frozen_head()
            return [chunked_logprobs(*given, temperature=warmth, chunk_tokens=chunk, head=head, gradient=gradient)[0]]

        return SpannedRow(
            policy,
            segment.completions[0],
            self.size,
            start=states,
            score=score,
            mask=segment.masks[0] if segment.masks else None,
            experts=self.gradients.sampled_experts(segment, len(segment.completions[0])) if seed is not None else None,
            replay=config.routing_replay,
            seeds=None if seed is None else lambda span: seed_of(*seed, span),
        )

    def _backwards(
        self, rows: Sequence[SpannedRow], cotangents: Sequence[list[list[mx.array]]]
    ) -> list[dict[str, mx.array]]:
        """Run all rows backwards, `cotangents` being those of each span's scores; return each one's gradient."""
        names = list(self.policy.trainable())
        sums = [[mx.zeros_like(leaf) for leaf in self.policy.trainable().values()] for _ in rows]
        waiting = list(range(len(rows)))
        while waiting:
            steps = [lambda place=place: rows[place].backward(cotangents[place].pop()) for place in waiting]
            for place, (gradient, _) in zip(waiting, side_by_side(steps), strict=True):
                if gradient:
                    sums[place] = [total + part for total, part in zip(sums[place], gradient, strict=True)]
            mx.eval(sums)
            waiting = [place for place in waiting if cotangents[place]]
        return [dict(zip(names, total, strict=True)) for total in sums]


def _forwards(rows: Sequence[SpannedRow]) -> None:
    while waiting := [row for row in rows if row.waits]:
        side_by_side([row.forward for row in waiting])


def _by_span(row: SpannedRow, slopes: Sequence[mx.array]) -> list[list[mx.array]]:
    """Cut the gradient by all scores of a row into that by each span's."""
    parts, begin = [], 0
    for scores in row.scores:
        end = begin + (scores[0].shape[0] if scores else 0)
        parts.append([slope[begin:end] for slope in slopes] if scores else [])
        begin = end
    return parts


def seed_of(*numbers: int) -> int:
    """Return the seed of a span's dropout."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
