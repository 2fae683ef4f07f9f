"""The loss over the vocabulary straight from hidden states, its gradient made in the same pass.

`grpo.logprobs.chunked_logprobs` drops a chunk's logits and projects again in the backward pass, as policy losses need
all logprobs before any gradient is known. Here the weight of each token is known beforehand, so a chunk's gradient is
made while its logits are there: one projection less of three, and still only one chunk of logits at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import mlx.core as mx

from grpo.logprobs import exp_sums

Project = Callable[[Any, mx.array], mx.array]
# (logits [m, vocab] float32, places of the chunk) -> (losses [m], d losses[i] / d logits[i] [m, vocab])
Head = Callable[[mx.array, slice], tuple[mx.array, mx.array]]


def weighted_loss(
    hidden: mx.array, weights: mx.array, head: Head, project: Project, parameters: Any, *, chunk_tokens: int
) -> tuple[mx.array, mx.array]:
    """sum_t weight_t * loss_t, loss_t being `head`'s of logits_t = project(parameters, hidden_t).

    Args:
        hidden: [n, hidden], the states that predict the counted tokens.
        weights: [n]; no gradient goes through them.
        head: losses and their derivative by the logits, for one chunk.
        project: (parameters, hidden [m, hidden]) -> logits [m, vocab].
        parameters: dicts and lists of the trainable arrays project uses, {} if none; what it closes over gets no
            gradient.
        chunk_tokens: positions whose vocabulary row exists at a time.
    Returns:
        the sum, a scalar with gradient by hidden and parameters; the losses [n], without gradient.
    """
    if hidden.shape[0] == 0:
        return hidden.sum() * 0.0, mx.zeros((0,))
    chunks = [slice(start, start + chunk_tokens) for start in range(0, hidden.shape[0], chunk_tokens)]
    names, leaves = _flatten(parameters)

    @mx.custom_function
    def total(hidden: mx.array, *leaves: mx.array) -> tuple[mx.array, ...]:
        losses: list[mx.array] = []
        by_hidden: list[mx.array] = []
        by_leaf = [mx.zeros_like(leaf) for leaf in leaves]
        for chunk in chunks:  # each waits for the one before it, or mlx would have many chunks' logits at a time
            states = mx.depends(hidden[chunk], [*by_hidden[-1:], *by_leaf])
            loss, *gradients = _chunk(states, leaves, weights[chunk], chunk)
            losses.append(loss)
            by_hidden.append(gradients[0])
            by_leaf = [sum_ + new for sum_, new in zip(by_leaf, gradients[1:], strict=True)]
        each = mx.concatenate(losses)
        return (each * weights).sum(), each, mx.concatenate(by_hidden), *by_leaf

    def _chunk(states: mx.array, leaves: Sequence[mx.array], weights: mx.array, chunk: slice) -> tuple[mx.array, ...]:
        """Losses, then the gradient of their weighted sum by states and leaves."""

        def logits(states: mx.array, *leaves: mx.array) -> list[mx.array]:
            return [project(_rebuild(names, iter(leaves), parameters), states)]

        projected = logits(states, *leaves)[0]
        losses, by_logits = head(projected.astype(mx.float32), chunk)
        if leaves:
            by_logits = (by_logits * weights[:, None]).astype(projected.dtype)
            return losses, *mx.vjp(logits, [states, *leaves], [by_logits])[1]
        by_states = mx.vjp(logits, [states], [by_logits.astype(projected.dtype)])[1][0]
        return losses, by_states * weights[:, None].astype(by_states.dtype)  # the narrower of the two to scale

    @total.vjp
    def gradient(primals: Any, cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]) -> Any:
        pulled = tuple(cotangents[0].astype(part.dtype) * part for part in outputs[2:])
        return pulled if isinstance(primals, tuple) else pulled[0]  # mlx unpacks a lone argument

    summed, each, *_ = cast("tuple[mx.array, ...]", total(hidden, *leaves))
    return summed, mx.stop_gradient(each)


def cross_entropy(tokens: mx.array) -> Head:
    """-logprob of each token.

    loss = logsumexp(z) - z[token];  d loss / dz = softmax(z) - onehot(token)

    Args:
        tokens: [n] ids, tokens[i] being predicted by the i-th state.
    """

    def head(logits: mx.array, chunk: slice) -> tuple[mx.array, mx.array]:
        places = tokens[chunk][:, None]  # [m, 1]
        masses, total, highest = exp_sums(logits)
        log_total = highest + mx.log(total)
        chosen = mx.take_along_axis(logits, places, axis=-1)
        probabilities = masses * (1 / total)
        by_logits = mx.put_along_axis(probabilities, places, mx.exp(chosen - log_total) - 1, axis=-1)
        return (log_total - chosen)[:, 0], by_logits

    return head


def _flatten(tree: Any) -> tuple[Any, list[mx.array]]:
    from mlx.utils import tree_flatten

    pairs = cast("list[tuple[str, mx.array]]", tree_flatten(tree))
    return [name for name, _ in pairs], [leaf for _, leaf in pairs]


def _rebuild(names: Sequence[str], leaves: Iterator[mx.array], original: Any) -> Any:
    from mlx.utils import tree_unflatten

    return tree_unflatten(list(zip(names, leaves, strict=True))) if names else original
