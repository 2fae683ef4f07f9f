"""Logprobs of given tokens, at the temperature they were sampled with, and the only shift in the project.

Everywhere else logprobs[:, t] belongs to tokens[:, t].
"""

from typing import cast

import mlx.core as mx

from grpo.cpu.exponential import LOWEST, exp, row_max

BLOCK = 256


def predicting_hidden(hidden: mx.array, prompt_hidden: mx.array) -> mx.array:
    """The hidden states that predict each completion token: a token is predicted one position before it is read.

    [h(last prompt token), h(token 0), ..., h(token time - 2)] predicts [token 0, token 1, ..., token time - 1].

    Args:
        hidden: [batch, time, hidden], the model's states at the completion tokens.
        prompt_hidden: [batch, hidden], the state at each row's last prompt token, or [1, hidden] shared by all rows.
    Returns:
        [batch, time, hidden], aligned with the completion tokens. The state at the last token predicts nothing here.
    """
    first = mx.broadcast_to(prompt_hidden[:, None, :], (hidden.shape[0], 1, hidden.shape[2]))  # [batch, 1, hidden]
    return mx.concatenate([first, hidden[:, :-1]], axis=1)


def token_logprobs(logits: mx.array, tokens: mx.array, temperature: float) -> mx.array:
    """The logprob of each token under the logits standing at the same place.

    logprob = z[token] - logsumexp(z),  z = logits / temperature, in float32

    Args:
        logits: [batch, time, vocab], logits[:, t] being those that predict tokens[:, t] (or [n, vocab]).
        tokens: [batch, time] ids (or [n]).
        temperature: that of sampling; above 0.
    Returns:
        [batch, time] float32; -inf for a token whose logit is -inf.
    """
    return chosen_logprobs(at_temperature(logits, temperature), tokens)


def at_temperature(logits: mx.array, temperature: float) -> mx.array:
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}: at 0 the policy is not a distribution")
    logits = logits.astype(mx.float32)
    return logits if temperature == 1 else logits / temperature


def chosen_logprobs(tempered: mx.array, tokens: mx.array) -> mx.array:
    """tempered[token] - logsumexp(tempered); its gradient, onehot - softmax, takes the sum from the forward pass."""
    places = tokens[..., None]

    @mx.custom_function
    def logprob(tempered: mx.array) -> tuple[mx.array, mx.array]:
        total = log_sum_exp(tempered)
        return mx.take_along_axis(tempered, places, axis=-1).squeeze(-1) - total, total

    @logprob.vjp
    def gradient(tempered: mx.array, cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]) -> mx.array:
        share, total = cotangents[0][..., None], outputs[1][..., None]
        pulled = -share * exp(mx.maximum(tempered - total, LOWEST))
        return mx.put_along_axis(pulled, places, mx.take_along_axis(pulled, places, axis=-1) + share, axis=-1)

    return cast("tuple[mx.array, mx.array]", logprob(tempered))[0]


def log_sum_exp(values: mx.array) -> mx.array:
    """Return log sum exp over the vocabulary, [..., vocab] -> [...], without a gradient on the CPU."""
    _, sums, highest = exp_sums(values)
    return (mx.log(sums) + highest).squeeze(-1)


def exp_sums(values: mx.array, least: mx.array | None = None) -> tuple[mx.array, mx.array, mx.array]:
    """exp(values - highest) [..., vocab], their sum and the highest value, each [..., 1]; highest is at least `least`.

    Summed in blocks: one float32 sum over 49,152 terms of which few are likely is 1e-4 off, as much as sampler and
    policy may differ. A row of nothing but -inf gives NaN.
    """
    highest = row_max(values) if least is None else mx.maximum(row_max(values), least)
    masses = exp(mx.maximum(values - highest, LOWEST))
    padding = -values.shape[-1] % BLOCK
    padded = mx.pad(masses, [(0, 0)] * (values.ndim - 1) + [(0, padding)]) if padding else masses
    blocks = padded.reshape(*values.shape[:-1], -1, BLOCK)  # [..., blocks, block]
    return masses, blocks.sum(axis=-2).sum(axis=-1, keepdims=True), highest


def entropy_of(tempered: mx.array) -> mx.array:
    """-sum p log p over the vocabulary, a token of logit -inf adding 0. [..., vocab] -> [...]."""
    masses, sums, highest = exp_sums(tempered)
    finite = mx.maximum(tempered, LOWEST)  # 0 * -inf would be NaN
    return (mx.log(sums) + highest - (masses * finite).sum(axis=-1, keepdims=True) / sums).squeeze(-1)


def differentiable_entropy(tempered: mx.array) -> mx.array:
    """`entropy_of` with its gradient: dH / dz = -p (log p + H). [..., vocab] -> [...]."""

    @mx.custom_function
    def entropy(tempered: mx.array) -> mx.array:
        return entropy_of(tempered)

    @entropy.vjp
    def gradient(tempered: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
        logprobs = mx.maximum(tempered - log_sum_exp(tempered)[..., None], LOWEST)
        return -cotangent[..., None] * exp(logprobs) * (logprobs + output[..., None])

    return cast(mx.array, entropy(tempered))
