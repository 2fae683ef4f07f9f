"""Run a long row span by span: forwards without a gradient, then backwards with it.

What each span leaves behind (keys, values, recurrent states) goes into the next one. Backwards, a span runs again from
what was there before it, with the gradient of its own scores and of what it left to those after it: truncated
backpropagation that truncates nothing. Only one span's activations exist at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from grpo.attention.trunk import marks, rewound
from grpo.model.experts import Ear
from grpo.model.forward import PromptStates, run_on
from grpo.model.policy import Policy
from grpo.model.recompute import distinct

# hidden [n, hidden] and the tokens [n] it predicts, and whether a gradient will be asked -> arrays [n]
Score = Callable[[mx.array, mx.array, bool], list[mx.array]]


class SpannedRow:
    """One row of tokens on its way through its spans.

    Call `forward` once a span and evaluate what it returns, then `backward` once a span and evaluate what that returns.
    """

    def __init__(
        self,
        policy: Policy,
        tokens: Sequence[int],
        size: int,
        *,
        start: PromptStates | None = None,
        score: Score | None = None,
        mask: Sequence[int] | None = None,
        experts: mx.array | None = None,
        replay: bool = False,
        seeds: Callable[[int], int] | None = None,
    ) -> None:
        """Cut `tokens` into spans of at most `size`.

        `start` is what the tokens before them left behind. `score` is called with the tokens of mask 1 (None = all).
        `experts` [1, time, mixtures, chosen] were sampled, and are taken again with `replay`. `seeds` gives
        the seed of each span's dropout, which has to be the same in both directions.
        """
        self.policy, self.tokens, self.start, self.score, self.seeds = policy, tokens, start, score, seeds
        self.mask, self.experts, self.replay = mask or (1,) * len(tokens), experts, replay
        self.agreement: list[tuple[mx.array, mx.array]] = []  # of each span that has run forwards
        self.spans = [slice(begin, min(begin + size, len(tokens))) for begin in range(0, len(tokens), size)]
        self.states = start  # after the spans that have run
        self.scores: list[list[mx.array]] = []  # of each span that has run
        self._before: list[tuple[list[Any], mx.array | None]] = []  # of each span, see grpo.attention.trunk.marks
        self.pulled: list[mx.array] = []  # the gradient by what the next span to run backwards left

    @property
    def waits(self) -> bool:
        """Return whether a span has not run yet."""
        return len(self.scores) < len(self.spans)

    def forward(self) -> list[mx.array]:
        """Run the next span without a gradient; return what is to be evaluated."""
        before = self.states
        self._before.append((marks(before.caches), before.last) if before else ([], None))
        scores, self.states = self._run(len(self.scores), before, gradient=False)
        self.scores.append(scores)
        return [*scores, *self.states.arrays]

    def pull(self, cotangents: Sequence[mx.array]) -> None:
        """Begin backwards with the gradient by all that the last span left; without it nothing uses that."""
        self.pulled = list(cotangents)

    def backward(self, cotangents: Sequence[mx.array]) -> tuple[list[mx.array], list[mx.array]]:
        """Run the last span that has not run backwards, given the gradient by its scores.

        Returns its part of the gradient by everything trained, and the gradient by what was there before it; that of
        the first span is the gradient by `start`. Both are empty where the loss does not depend on the span.
        """
        assert self.states is not None
        number = len(self._before) - 1
        marked, last = self._before.pop()
        model, trained, pulled = self.policy.model, self.policy.trainable(), self.pulled
        if not cotangents and not pulled:
            return [], []
        before = None if last is None else PromptStates(rewound(self.states.caches, marked), last)
        inputs = [*trained.values(), *(before.arrays if before else [])]

        def run(*arrays: mx.array) -> list[mx.array]:
            model.update(tree_unflatten(list(zip(trained, arrays, strict=False))))
            given = before.holding(arrays[len(trained) :]) if before else None
            scores, after = self._run(number, given, gradient=True)
            return [*scores, *(distinct(after.arrays, arrays) if pulled else [])]

        gradient = mx.vjp(run, inputs, [*cotangents, *pulled])[1]
        model.update(tree_unflatten(list(trained.items())))
        self.pulled = gradient[len(trained) :]
        return gradient[: len(trained)], self.pulled

    def _run(self, number: int, before: PromptStates | None, *, gradient: bool) -> tuple[list[mx.array], PromptStates]:
        span = self.spans[number]
        if self.seeds is not None:
            mx.random.seed(self.seeds(number))
        sampled = None if self.experts is None else self.experts[:, span]
        ear = None if sampled is None else Ear(sampled if self.replay else None)
        hidden, after = run_on(self.policy, before, self.tokens[span], ear)
        if not gradient and ear is not None and sampled is not None and ear.heard:
            self.agreement.append(ear.agreement(sampled))
        places = [place for place, counts in enumerate(self.mask[span]) if counts]
        if self.score is None or not places:
            return [], after
        assert before is not None  # what is scored follows a prompt
        predicting = mx.concatenate([before.last, hidden[:-1]])[mx.array(places)]
        tokens = mx.array([self.tokens[span.start + place] for place in places])
        return self.score(predicting, tokens, gradient), after
