"""Compute logprobs in chunks, so that [batch, time, vocab] never exists."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import mlx.core as mx

from grpo.cpu.exponential import LOWEST
from grpo.logprobs import at_temperature, chosen_logprobs, differentiable_entropy, entropy_of, exp_sums
from grpo.model.head import FrozenHead

# logits of a frozen projection that exist at a time, at most: operations on them stay in cache
ROWS, COLUMNS = 1024, 2048
Project = Callable[[Any, mx.array], mx.array]


def chunked_logprobs(
    hidden: mx.array,
    tokens: mx.array,
    project: Project,
    parameters: Any,
    *,
    temperature: float,
    chunk_tokens: int,
    head: FrozenHead | None = None,
    gradient: bool = True,
) -> tuple[mx.array, mx.array]:
    """Logprobs and entropies straight from hidden states; logits exist for one chunk of positions at a time.

    logits = project(parameters, hidden);  logprob as in `token_logprobs`;  entropy = logsumexp(z) - sum softmax(z) * z

    A frozen projection that can be had in blocks is gone through block by block of the vocabulary for many positions:
    its weights are read once for all of them, and d logprob / d hidden, which is one row a token whatever weighs it
    later, is summed up on the way, so that nothing of the vocabulary is computed twice. Any other is run again in the
    backward pass, as mx.checkpoint would. That alone does not bound memory: mlx works on about 20 independent branches
    of a graph at a time. So each chunk or block here waits for the one before it, forward and backward.

    Args:
        hidden: [n, hidden], completion positions of all rows one after another, padding left out.
        tokens: [n] ids, tokens[i] being predicted by hidden[i].
        project: (parameters, hidden [m, hidden]) -> logits [m, vocab].
        parameters: dicts, lists and tuples of the *trainable* arrays project uses. An array that project closes over
            gets no gradient: a trainable one left out of here is silently not trained; frozen ones (quantised weights
            in particular, which refuse a gradient) belong in the closure.
        temperature: that of sampling; above 0.
        chunk_tokens: positions a chunk; memory is about five times chunk_tokens x vocab floats. With `head` the blocks
            are made so narrow that there are no more logits at a time than that, and no more than ROWS x COLUMNS.
        head: the same projection in blocks, if it is frozen and can be had so.
        gradient: False where none will be asked for, which saves that of `head`.
    Returns:
        logprobs [n] float32; entropies [n] float32 in nats, without gradient, which cost a projection of their own and
        only if they are evaluated. Both empty for n = 0.
    """
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens must be at least 1, got {chunk_tokens}: no token would be scored")
    if hidden.shape[0] == 0:
        return mx.zeros((0,)), mx.zeros((0,))
    chunks = [slice(start, start + chunk_tokens) for start in range(0, hidden.shape[0], chunk_tokens)]
    leaves = _leaves(parameters)

    def tempered(hidden: mx.array, leaves: Sequence[mx.array]) -> mx.array:  # [chunk, vocab]
        return at_temperature(project(_with_leaves(parameters, iter(leaves)), hidden), temperature)

    def chosen(hidden: mx.array, leaves: Sequence[mx.array], chunk: slice) -> mx.array:
        return chosen_logprobs(tempered(hidden, leaves), tokens[chunk])

    if head is not None:
        logprobs = _in_blocks(
            hidden, tokens, head, temperature=temperature, chunk_tokens=chunk_tokens, gradient=gradient
        )
    else:
        logprobs = _recomputed(chosen, hidden, leaves, chunks)
    entropies = _in_order(lambda hidden, _: entropy_of(tempered(hidden, leaves)), hidden, chunks)
    return logprobs, mx.stop_gradient(entropies)


def scores_with_entropy(
    hidden: mx.array,
    tokens: mx.array,
    project: Project,
    parameters: Any,
    *,
    temperature: float,
    chunk_tokens: int,
) -> tuple[mx.array, mx.array]:
    """Logprobs and entropies [n] float32, both with a gradient; arguments as in `chunked_logprobs`.

    Each chunk of logits is made again for the backward pass, whatever the projection.
    """
    chunks = [slice(start, start + chunk_tokens) for start in range(0, hidden.shape[0], chunk_tokens)]

    def scores(hidden: mx.array, leaves: Sequence[mx.array], chunk: slice) -> mx.array:  # [chunk, 2]
        logits = at_temperature(project(_with_leaves(parameters, iter(leaves)), hidden), temperature)
        return mx.stack([chosen_logprobs(logits, tokens[chunk]), differentiable_entropy(logits)], axis=1)

    both = _recomputed(scores, hidden, _leaves(parameters), chunks)
    return both[:, 0], both[:, 1]


def _in_blocks(
    hidden: mx.array,
    tokens: mx.array,
    head: FrozenHead,
    *,
    temperature: float,
    chunk_tokens: int,
    gradient: bool,
) -> mx.array:
    """Logprobs [n] of a frozen projection, each with d logprob / d hidden [n, hidden] from the same pass."""
    rows = min(hidden.shape[0], ROWS)
    width = min(COLUMNS, max(1, chunk_tokens * head.size // rows))
    blocks = [slice(start, min(start + width, head.size)) for start in range(0, head.size, width)]

    def score(hidden: mx.array) -> tuple[mx.array, mx.array]:
        logprobs: list[mx.array] = []
        slopes: list[mx.array] = []
        for start in range(0, hidden.shape[0], rows):
            chunk = slice(start, start + rows)
            states = mx.depends(hidden[chunk], [logprobs[-1], slopes[-1]]) if slopes else hidden[chunk]
            logprob, slope = _over_blocks(states, tokens[chunk], head, blocks, temperature, gradient=gradient)
            logprobs.append(logprob)
            slopes.append(slope)
        return mx.concatenate(logprobs), mx.concatenate(slopes)

    if not gradient:
        return score(hidden)[0]
    scored = mx.custom_function(score)

    @scored.vjp
    def pull(_hidden: mx.array, cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]) -> mx.array:
        return (cotangents[0][:, None] * outputs[1]).astype(hidden.dtype)

    return cast("tuple[mx.array, mx.array]", scored(hidden))[0]


def _over_blocks(
    hidden: mx.array,
    tokens: mx.array,
    head: FrozenHead,
    blocks: Sequence[slice],
    temperature: float,
    *,
    gradient: bool,
) -> tuple[mx.array, mx.array]:
    """Logprobs [m] and d logprob / d hidden [m, hidden]; without `gradient` [m, 1] of no meaning in its place.

    d logprob / d hidden = (W[token] - sum softmax(z) W) / temperature. What has been summed up shrinks when a block
    brings a higher logit than all before it (Milakov and Gimelshein 2018, arXiv 1805.02867).
    """
    highest = mx.full((hidden.shape[0], 1), LOWEST)
    total = pulled = mx.zeros((hidden.shape[0], 1))
    chosen = mx.zeros((hidden.shape[0], 1))
    places = tokens[:, None]
    for ids in blocks:

        def tempered(states: mx.array, ids: slice = ids) -> list[mx.array]:
            return [at_temperature(head.project(states, ids), temperature)]

        states = mx.depends(hidden, [total, pulled, chosen])  # or mlx would have the logits of many blocks at a time
        values = tempered(states)[0]
        masses, sums, above = exp_sums(values, highest)
        shrunk = mx.exp(highest - above)
        total, highest = total * shrunk + sums, above
        if gradient:
            pulled = pulled * shrunk + mx.vjp(tempered, [states], [masses])[1][0].astype(mx.float32)
        inside = (places >= ids.start) & (places < ids.stop)
        own = mx.take_along_axis(values, mx.clip(places - ids.start, 0, ids.stop - ids.start - 1), axis=-1)
        chosen = mx.where(inside, own, chosen)
    if not gradient:
        return (chosen - mx.log(total) - highest)[:, 0], total
    ones = mx.ones((hidden.shape[0],), hidden.dtype)
    own_slopes = mx.vjp(lambda states: [head.chosen(states, tokens)], [hidden], [ones])[1][0]
    slopes = own_slopes.astype(mx.float32) / temperature - pulled / total
    return (chosen - mx.log(total) - highest)[:, 0], slopes


def _recomputed(
    chosen: Callable[[mx.array, Sequence[mx.array], slice], mx.array],
    hidden: mx.array,
    leaves: Sequence[mx.array],
    chunks: list[slice],
) -> mx.array:
    """Logprobs [n] of a projection that is made again chunk by chunk for the gradient of states and weights."""

    @mx.custom_function
    def score(hidden: mx.array, *leaves: mx.array) -> mx.array:
        return _in_order(lambda hidden, chunk: chosen(hidden, leaves, chunk), hidden, chunks)

    @score.vjp
    def gradients(primals: Any, cotangent: mx.array, _output: mx.array) -> Any:
        hidden, *trained = primals if leaves else (primals,)
        hidden_gradients: list[mx.array] = []
        leaf_gradients = [mx.zeros_like(leaf) for leaf in trained]
        for chunk in chunks:
            after = mx.depends(hidden[chunk], [*hidden_gradients[-1:], *leaf_gradients])
            hidden_gradient, *chunk_gradients = mx.vjp(
                lambda hidden, *leaves, chunk=chunk: [chosen(hidden, leaves, chunk)],
                [after, *trained],
                [cotangent[chunk]],
            )[1]
            hidden_gradients.append(hidden_gradient)
            leaf_gradients = [total + new for total, new in zip(leaf_gradients, chunk_gradients, strict=True)]
        by_hidden = mx.concatenate(hidden_gradients)
        return (by_hidden, *leaf_gradients) if leaves else by_hidden

    return cast(mx.array, score(hidden, *leaves))


def _in_order(function: Callable[[mx.array, slice], mx.array], hidden: mx.array, chunks: list[slice]) -> mx.array:
    """function(hidden[chunk], chunk) of all chunks, concatenated; none starts before the last one is done."""
    results: list[mx.array] = []
    for chunk in chunks:
        after = mx.depends(hidden[chunk], results[-1:]) if results else hidden[chunk]
        results.append(function(after, chunk))
    return mx.concatenate(results)


def _leaves(tree: Any) -> list[mx.array]:
    """The arrays of nested dicts, lists and tuples, in order."""
    if isinstance(tree, dict | list | tuple):
        return [leaf for branch in (tree.values() if isinstance(tree, dict) else tree) for leaf in _leaves(branch)]
    return [tree]


def _with_leaves(tree: Any, leaves: Iterator[mx.array]) -> Any:
    """The same tree with other arrays."""
    if isinstance(tree, dict):
        return {name: _with_leaves(branch, leaves) for name, branch in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)([_with_leaves(branch, leaves) for branch in tree])
    return next(leaves)
