"""Draw a token and its logprob from a row of logits. The order of filters is temperature, then top-k, then top-p."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from grpo.cpu.exponential import LOWEST, exp, row_max
from grpo.cpu.nucleus import nucleus
from grpo.cpu.switch import serves
from grpo.model.experts import UNKNOWN

BLOCK = 256


@dataclass(frozen=True)
class Sampling:
    """Settings for drawing tokens. Temperature 0 is the likeliest token. Training uses top_p 1 and top_k 0 only."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Draw:
    """The tokens one step drew and their figures, each [batch].

    Tokens, their logprobs and the entropy (nats) of the distribution they came from. `experts`: those that each
    mixture of the network sent the tokens before these to, [batch, mixtures, chosen]; UNKNOWN where nobody listened.
    """

    tokens: mx.array
    logprobs: mx.array
    entropies: mx.array
    experts: mx.array | None = None

    @property
    def parts(self) -> list[mx.array]:
        """The arrays that are always there."""
        return [self.tokens, self.logprobs, self.entropies]

    def replaced(self, rows: Sequence[int], other: "Draw") -> "Draw":
        """Return this draw with what another drew in the place of these rows."""
        index, kept = mx.array(list(rows)), [mx.array(part) for part in self.parts]
        for part, new in zip(kept, other.parts, strict=True):
            part[index] = new
        experts = None if self.experts is None else mx.array(self.experts)
        if experts is not None:
            experts[index] = UNKNOWN if other.experts is None else other.experts
        return Draw(kept[0], kept[1], kept[2], experts)

    def at(self, rows: Sequence[int]) -> "Draw":
        """Return what these rows drew."""
        index = mx.array(list(rows))
        tokens, logprobs, entropies = (part[index] for part in self.parts)
        return Draw(tokens, logprobs, entropies, None if self.experts is None else self.experts[index])

    def joined(self, other: "Draw") -> "Draw":
        """Return the rows of both, one after the other."""
        first, second = self.experts, other.experts
        if first is None and second is not None:
            first = mx.full((self.tokens.shape[0], *second.shape[1:]), UNKNOWN, second.dtype)
        if second is None and first is not None:
            second = mx.full((other.tokens.shape[0], *first.shape[1:]), UNKNOWN, first.dtype)
        experts = None if first is None or second is None else mx.concatenate([first, second])
        tokens, logprobs, entropies = (
            mx.concatenate([one, more]) for one, more in zip(self.parts, other.parts, strict=True)
        )
        return Draw(tokens, logprobs, entropies, experts)


def draw(logits: mx.array, seeds: mx.array, sampling: Sampling) -> Draw:
    """Draw one token a row by a race of exponential clocks (the Gumbel-max trick without its logarithms).

    logits [batch, vocab]; seeds [batch] uint32. Logprobs are of softmax(logits / temperature) before any filter, so
    that a training run can compare them with the policy's; entropies likewise. At temperature 0 both are of the plain
    softmax. A row's draw depends on nothing but its own logits and seed, and hardly on how these were rounded: rows
    draw the same tokens in a batch of another size. The sum runs in blocks of at most 256 tokens, which keeps float32
    rounding below 1e-6 for any vocabulary.
    """
    greedy = sampling.temperature == 0
    scaled = logits.astype(mx.float32)
    if not greedy and sampling.temperature != 1:
        scaled = scaled / sampling.temperature
    highest = row_max(scaled)  # [batch, 1]
    below = mx.maximum(scaled - highest, LOWEST)  # [batch, vocab], finite where a logit is -inf
    masses = exp(below)
    blocks = _in_blocks(masses)  # [batch, blocks, block]
    sums = blocks.sum(axis=-1)
    total = sums.sum(axis=-1)
    log_total = mx.log(total) + highest[:, 0]
    entropies = mx.log(total) - _in_blocks(masses * below).sum(axis=-2).sum(axis=-1) / total
    if greedy:
        tokens = mx.argmax(scaled, axis=-1)
    else:
        if sampling.top_k > 0 or sampling.top_p < 1:
            blocks = _in_blocks(_filtered(masses, total, sampling))
            sums = blocks.sum(axis=-1)
        tokens = _drawn(blocks, sums, seeds)
    chosen = mx.take_along_axis(scaled, tokens[:, None], axis=-1)[:, 0]
    return Draw(tokens, chosen - log_total, entropies)


def _in_blocks(masses: mx.array) -> mx.array:
    """Divide the vocabulary into blocks, [batch, vocab] -> [batch, blocks, block].

    The vocabulary is padded with zero mass where no block size divides it.
    """
    batch, vocab = masses.shape
    block = math.gcd(vocab, BLOCK)
    if block < 16 and vocab > BLOCK:
        masses = mx.pad(masses, [(0, 0), (0, -vocab % BLOCK)])
        block = BLOCK
    elif vocab <= BLOCK:
        block = vocab
    return masses.reshape(batch, -1, block)


def _drawn(blocks: mx.array, sums: mx.array, seeds: mx.array) -> mx.array:
    """Draw an index, [batch], with a probability proportional to its mass: first its block, then the token in it."""
    block = _race(sums, seeds)
    inside = mx.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    return block * blocks.shape[-1] + _race(inside, ~seeds)


def _race(masses: mx.array, seeds: mx.array) -> mx.array:
    """Return who is first, [batch], where i arrives after a time of Exponential(mass i): i with p = mass i / sum.

    Who is first changes only where two arrive within rounding of one another. Inverting a cumulative distribution is
    cheaper by one hash, but there an error of one mass moves every later edge. masses [batch, n], seeds [batch].
    """
    bits = seeds[:, None] + mx.arange(masses.shape[-1], dtype=mx.uint32) * mx.array(0x9E3779B9, mx.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):  # the finalizer of MurmurHash3
        bits = (bits ^ (bits >> shift)) * mx.array(factor, mx.uint32)
    bits = bits ^ (bits >> 16)
    waits = -mx.log1p(-(bits.astype(mx.float32) + 0.5) * 2**-32)  # Exponential(1), above 0; inf where it rounds to 1
    return mx.argmax(masses / waits, axis=-1)


def _filtered(masses: mx.array, total: mx.array, sampling: Sampling) -> mx.array:
    """Set to 0 the masses outside the top_k likeliest tokens, then outside the smallest set that holds top_p."""
    if serves():
        return nucleus(masses, top_p=sampling.top_p, top_k=sampling.top_k)
    order = mx.argsort(-masses, axis=-1)
    ranked = mx.take_along_axis(masses, order, axis=-1)
    keep = mx.ones_like(ranked)
    if sampling.top_k > 0:
        keep = (mx.arange(ranked.shape[-1]) < sampling.top_k).astype(ranked.dtype)[None]
        total = (ranked * keep).sum(axis=-1)
    if sampling.top_p < 1:
        before = mx.cumsum(ranked * keep, axis=-1) - ranked  # mass of the likelier tokens
        keep = keep * (before < sampling.top_p * total[:, None])
    return mx.put_along_axis(mx.zeros_like(masses), order, ranked * keep, axis=-1)
