"""Divergence of a student's distribution from its teacher's, a token at a time, with its derivative by the logits.

From logprobs over the whole vocabulary, or over the teacher's top k tokens and one bucket for all others. The bucket's
mass is exact on both sides (a log-sum-exp over what is in it, not one minus the rest). The measure then is the
divergence of the two distributions after merging the others: a lower bound of the whole one (data-processing
inequality), equal to it where k is the vocabulary or the teacher's tail is nothing.
"""

from typing import Literal

import mlx.core as mx

from grpo.cpu.exponential import LOWEST, exp
from grpo.logprobs import log_sum_exp

Divergence = Literal["forward", "reverse", "js"]


def divergence(log_teacher: mx.array, log_student: mx.array, kind: Divergence) -> tuple[mx.array, mx.array]:
    """The divergence of each row, and its derivative by the student's logits (whose log-softmax log_student is).

    forward  sum p (log p - log q)                      dz = q - p
    reverse  sum q (log q - log p)                      dz = q (log q - log p - D)
    js       KL(p || m) / 2 + KL(q || m) / 2, m = (p + q) / 2      dz = q (log q - log m - KL(q || m)) / 2

    Args:
        log_teacher, log_student: [m, n] logprobs; each row's probabilities add up to 1. -inf counts as e^-1e9.
    Returns:
        [m] in nats, [m, n].
    """
    log_p, log_q = mx.maximum(log_teacher, LOWEST), mx.maximum(log_student, LOWEST)
    p, q = exp(log_p), exp(log_q)
    if kind == "forward":
        return _mean(p, log_p - log_q), q - p
    if kind == "reverse":
        loss = _mean(q, log_q - log_p)
        return loss, mx.where(q > 0, q * (log_q - log_p - loss[:, None]), 0.0)
    log_m = mx.log(mx.maximum((p + q) / 2, 1e-38))
    of_student = _mean(q, log_q - log_m)
    by_logits = mx.where(q > 0, q * (log_q - log_m - of_student[:, None]), 0.0) / 2
    return (_mean(p, log_p - log_m) + of_student) / 2, by_logits


def _mean(weights: mx.array, values: mx.array) -> mx.array:
    return mx.where(weights > 0, weights * values, 0.0).sum(axis=-1)


def log_softmax(logits: mx.array) -> mx.array:
    """[m, vocab] -> the same."""
    return logits - log_sum_exp(logits)[:, None]


def bucketed(logprobs: mx.array, ids: mx.array) -> mx.array:
    """Logprobs of these tokens, then of all others together: [m, vocab], [m, k] -> [m, k + 1]."""
    chosen = mx.take_along_axis(logprobs, ids, axis=-1)
    if ids.shape[-1] == logprobs.shape[-1]:
        return mx.concatenate([chosen, mx.full((*chosen.shape[:-1], 1), LOWEST)], axis=-1)
    rest = mx.put_along_axis(logprobs, ids, mx.array(LOWEST), axis=-1)
    return mx.concatenate([chosen, log_sum_exp(rest)[:, None]], axis=-1)


def unbucketed(by_bucket: mx.array, logprobs: mx.array, ids: mx.array) -> mx.array:
    """The derivative by all logits from the one by buckets: a token of the rest gets its share of the last bucket.

    by_bucket [m, k + 1], logprobs [m, vocab] of the student, ids [m, k] -> [m, vocab].
    """
    log_rest = bucketed(logprobs, ids)[:, -1:]
    shares = exp(mx.clip(logprobs - log_rest, LOWEST, 0.0))
    return mx.put_along_axis(shares * by_bucket[:, -1:], ids, by_bucket[:, :-1], axis=-1)
