"""The supervised step: cross-entropy of the counted tokens of a batch of examples, and its gradient.

Packed rows where the architecture allows it, padded rows where not. The sum over a micro-batch is divided by the
counted tokens of the whole optimizer step, so any cut into micro-batches gives the same gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from distill.sft.cross_entropy import Head, cross_entropy, weighted_loss
from distill.sft.examples import Example
from distill.sft.packing import balanced_bins, packed_hidden, packing_refused, padded_bins, padded_hidden, padding_share
from grpo.cpu.fusion import fused_gradients
from grpo.model.policy import Policy

# The head's losses for the counted tokens of these examples, one after another. `tokens` [n] are those tokens' ids.
Objective = Callable[[Sequence[Example], mx.array], Head]


def next_tokens(examples: Sequence[Example], tokens: mx.array) -> Head:
    """Cross-entropy with what the examples say."""
    return cross_entropy(tokens)


@dataclass(frozen=True)
class Scored:
    """A micro-batch's share of the step's loss and gradient."""

    loss: float
    gradient: dict[str, mx.array]


class Supervised:
    """A policy as a learner of examples."""

    def __init__(
        self,
        policy: Policy,
        *,
        token_budget: int,
        logits_chunk: int,
        packing: bool = True,
        objective: Objective = next_tokens,
    ) -> None:
        self.policy, self.token_budget, self.logits_chunk = policy, token_budget, logits_chunk
        self.padded_because = packing_refused(policy) if packing else "packing: false"
        self.packed = self.padded_because is None
        self.objective = objective

    def micro_batches(self, examples: Sequence[Example]) -> tuple[list[list[Example]], float]:
        """The examples in micro-batches of at most token_budget positions, and the share of these that is padding."""
        lengths = [len(example.tokens) for example in examples]
        bins = (balanced_bins if self.packed else padded_bins)(lengths, self.token_budget)
        return [[examples[i] for i in chosen] for chosen in bins], padding_share(bins, lengths, packed=self.packed)

    def loss_and_gradient(self, examples: Sequence[Example], denominator: float) -> Scored:
        """Return the sum of the counted tokens' losses / denominator, and its gradient by what is trained."""

        def objective(_: dict) -> mx.array:
            return self._loss(examples)[0] / denominator

        with fused_gradients():
            loss, gradient = nn.value_and_grad(self.policy.model, objective)({})
            flat = dict(tree_flatten(gradient))
            mx.eval(loss, flat)
        return Scored(float(loss.item()), flat)

    def losses(self, examples: Sequence[Example]) -> mx.array:
        """The losses of the counted tokens of all examples one after another, [n], without gradient."""
        return self._loss(examples)[1]

    def _loss(self, examples: Sequence[Example]) -> tuple[mx.array, mx.array]:
        rows = [example.tokens for example in examples]
        hidden = (packed_hidden if self.packed else padded_hidden)(self.policy, rows)  # [positions, hidden]
        tokens = mx.array([token for example in examples for token in example.counted_tokens])
        return weighted_loss(
            hidden[mx.array(predicting_places(examples))],
            mx.ones(tokens.shape),
            self.objective(examples, tokens),
            self.policy.project,
            self.policy.head_parameters(),
            chunk_tokens=self.logits_chunk,
        )


def predicting_places(examples: Sequence[Example]) -> list[int]:
    """Return the positions that predict the counted tokens when all examples are one row: one before each token."""
    places, begin = [], 0
    for example in examples:
        places += [begin + t - 1 for t, counts in enumerate(example.trained_mask) if counts]
        begin += len(example.tokens)
    return places


def counted(examples: Sequence[Example]) -> int:
    """Tokens that count in the loss."""
    return sum(sum(example.trained_mask) for example in examples)
