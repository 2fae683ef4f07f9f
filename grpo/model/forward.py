"""Logprobs of a micro-batch's completions under the policy.

The prompt once a group, the vocabulary once a completion token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from grpo.attention.layout import PrefixLayout, pad_rows
from grpo.attention.trunk import arrays_of, has_states, holding, rows_after, run_apart, run_trunk, trunk_caches
from grpo.logprobs import predicting_hidden
from grpo.model.chunks import chunked_logprobs, scores_with_entropy
from grpo.model.experts import Ear, listening
from grpo.model.policy import Policy
from grpo.types import Segment, Value


@dataclass(frozen=True)
class Rows:
    """Token ids of a micro-batch and where its completion tokens stand when padding is left out."""

    prompts: tuple[tuple[int, ...], ...]  # [prompts][time]
    completions: tuple[tuple[int, ...], ...]  # [batch][time]
    masks: tuple[tuple[int, ...], ...] | None = None  # [batch][time], 1 = trained on; None = every token is

    @classmethod
    def of(cls, segment: Segment) -> "Rows":
        """Return the rows of a micro-batch."""
        return cls(segment.prompts, segment.completions, segment.masks)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion, [batch]."""
        return [len(row) for row in self.completions]

    @property
    def width(self) -> int:
        """Tokens of the longest completion."""
        return max(self.lengths)

    def trained(self, values: Sequence[Sequence[Value]]) -> list[Value]:
        """Return what stands at the trained tokens of all rows one after another, [batch][time] -> [n]."""
        if self.masks is None:
            return [value for row in values for value in row]
        return [
            value
            for row, mask in zip(values, self.masks, strict=True)
            for value, counts in zip(row, mask, strict=True)
            if counts
        ]

    def flat_tokens(self) -> mx.array:
        """Trained tokens of all rows one after another, [n]."""
        return mx.array(self.trained(self.completions))

    def flat_places(self) -> mx.array:
        """Return their positions [n] in a padded [batch x time]."""
        return mx.array(self.trained([range(b * self.width, b * self.width + n) for b, n in enumerate(self.lengths)]))

    def padded(self, flat: mx.array) -> mx.array:
        """Put [n] back into [batch, time]; 0 at padding."""
        empty = mx.zeros((len(self.completions) * self.width,), flat.dtype)
        return empty.at[self.flat_places()].add(flat).reshape(len(self.completions), self.width)

    def mask(self) -> mx.array:
        """1 at trained tokens, [batch, time]; from lengths and masks, never from ids."""
        if self.masks is not None:
            return self.padded(mx.ones((len(self.trained(self.completions)),)))
        return (mx.arange(self.width)[None] < mx.array(self.lengths)[:, None]).astype(mx.float32)


@dataclass(frozen=True)
class PromptStates:
    """The part of a prompt's forward pass that completions need: every layer's cache and the last hidden state."""

    caches: list[Any]
    last: mx.array  # [prompts, hidden]

    @property
    def arrays(self) -> list[mx.array]:
        """Everything that may have a gradient as one list, in the order that `holding` takes."""
        return [*arrays_of(self.caches), self.last]

    def holding(self, arrays: Sequence[mx.array]) -> "PromptStates":
        """Return the same states with other arrays."""
        return PromptStates(holding(self.caches, arrays[:-1]), arrays[-1])


def run_prompts(policy: Policy, prompts: Sequence[Sequence[int]], parts: int = 1) -> PromptStates:
    """Run each prompt once through the network, in `parts` parts."""
    caches = trunk_caches(policy.model)
    if has_states(caches) and len({len(prompt) for prompt in prompts}) > 1:
        last, caches = run_apart(policy.trunk, prompts, lambda _: trunk_caches(policy.model))
        return PromptStates(caches, last)
    hidden = run_trunk(policy.trunk, pad_rows(prompts), caches, parts=parts)  # [prompts, time, hidden]
    last = hidden[mx.arange(len(prompts)), mx.array([len(prompt) - 1 for prompt in prompts])]
    return PromptStates(caches, last)


def run_on(
    policy: Policy, before: PromptStates | None, tokens: Sequence[int], ear: Ear | None = None
) -> tuple[mx.array, PromptStates]:
    """Run further tokens of one row after what its earlier ones left behind, None = nothing.

    Returns their hidden states [time, hidden], and what they leave behind.
    """
    caches = trunk_caches(policy.model) if before is None else before.holding(before.arrays).caches
    with listening(ear):
        hidden = policy.trunk(mx.array([tokens]), caches)
    return hidden[0], PromptStates(caches, hidden[:, -1])


def completion_logprobs(
    policy: Policy,
    rows: Rows,
    *,
    temperature: float,
    chunk_tokens: int,
    states: PromptStates | None = None,
    gradient: bool = True,
    ear: Ear | None = None,
) -> mx.array:
    """Logprob of each trained token given its prompt and what stands before it, [batch, time], 0 elsewhere.

    Differentiable in everything trainable, and in `states` where the prompts were run beforehand; `gradient=False`
    saves what only a gradient needs. The logits are divided by `temperature`, the one of sampling. `ear` hears, and
    may tell, which experts the completions' tokens are sent to.
    """
    flat, _ = chunked_logprobs(
        _predicting(policy, rows, states, ear),  # [n, hidden]
        rows.flat_tokens(),
        policy.project,
        policy.head_parameters(),
        temperature=temperature,
        chunk_tokens=chunk_tokens,
        head=policy.frozen_head(),
        gradient=gradient,
    )
    return rows.padded(flat)


def completion_scores(
    policy: Policy,
    rows: Rows,
    *,
    temperature: float,
    chunk_tokens: int,
    states: PromptStates | None = None,
    ear: Ear | None = None,
) -> tuple[mx.array, mx.array]:
    """Logprob and entropy (nats) of each completion token, [batch, time], 0 at padding, both with a gradient.

    Logits exist for one chunk of positions at a time, and again in the backward pass.
    """
    logprobs, entropies = scores_with_entropy(
        _predicting(policy, rows, states, ear),  # [n, hidden]
        rows.flat_tokens(),
        policy.project,
        policy.head_parameters(),
        temperature=temperature,
        chunk_tokens=chunk_tokens,
    )
    return rows.padded(logprobs), rows.padded(entropies)


def _predicting(policy: Policy, rows: Rows, states: PromptStates | None, ear: Ear | None) -> mx.array:
    """Hidden states that predict the trained tokens, [n, hidden]."""
    if not policy.shares_prefixes:
        return _predicting_plain(policy, rows)
    prompts = rows.prompts
    samples = len(rows.completions) // len(prompts)
    layout = PrefixLayout(tuple(map(len, prompts)), (samples,) * len(prompts))
    states = run_prompts(policy, prompts) if states is None else states
    last = mx.repeat(states.last, samples, axis=0)  # [batch, hidden]
    if rows.width == 1:
        return last
    caches = rows_after(states.caches, layout, policy.rows_cache)
    with listening(ear):
        hidden = policy.trunk(pad_rows(rows.completions), caches)  # [batch, time, hidden]
    shifted = predicting_hidden(hidden, last)
    return shifted.reshape(-1, shifted.shape[-1])[rows.flat_places()]


def _predicting_plain(policy: Policy, rows: Rows) -> mx.array:
    """The prompt in every row, for architectures that can't share it."""
    samples = len(rows.completions) // len(rows.prompts)
    whole = [rows.prompts[i // samples] + row for i, row in enumerate(rows.completions)]
    tokens = pad_rows(whole)
    hidden = policy.trunk(tokens, policy.whole_caches())  # [batch, time, hidden]
    ends = [i * tokens.shape[1] + len(row) - 1 for i, row in enumerate(whole)]
    places = [range(end - length, end) for end, length in zip(ends, rows.lengths, strict=True)]
    return hidden.reshape(-1, hidden.shape[-1])[mx.array(rows.trained(places))]


def sum_trees(first: dict[str, mx.array] | None, second: dict[str, mx.array]) -> dict[str, mx.array]:
    """Add two trees leaf by leaf; None counts as zeros."""
    return second if first is None else {name: first[name] + leaf for name, leaf in second.items()}


def rows_of(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> Rows:
    """Make rows of any sequences of ids."""
    return Rows(tuple(map(tuple, prompts)), tuple(map(tuple, completions)))
