"""Count the arithmetic and memory traffic that a piece of work needs at least.

A multiplication and an addition count as 2. Only matrix products are counted: what a network does besides (norms,
rotations, softmax, sampling) is time that is not at the limit. Nothing is counted twice: an implementation that
computes something again has to make up for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grpo.config.sections import LoRA
from grpo.model.facts import ModelFacts


@dataclass(frozen=True)
class Work:
    """A group's shape."""

    prompt: int  # tokens
    completions: tuple[int, ...]  # [samples], tokens of each

    @property
    def tokens(self) -> int:
        """The prompt once, every completion."""
        return self.prompt + sum(self.completions)

    @property
    def pairs(self) -> int:
        """(query, key) pairs of causal attention, the prompt's own counted once."""
        own = self.prompt * (self.prompt + 1) // 2
        return own + sum(time * self.prompt + time * (time + 1) // 2 for time in self.completions)


def block_weights(facts: ModelFacts) -> int:
    """Values in the linear layers of all blocks."""
    return sum(part.inputs * part.outputs for part in facts.linears)


def attention(facts: ModelFacts, pairs: int) -> float:
    """Of the scores and of the values' sum, for all heads and blocks: 2 x 2 x head_dim a pair."""
    return 4 * facts.head_dim * facts.heads * facts.blocks * pairs


def learning(facts: ModelFacts, groups: Sequence[Work], *, lora: LoRA | None, reference: bool) -> float:
    """Flops of one optimizer update: policy forward and backward, reference forward, vocabulary.

    A forward is 2 a weight and token. The backward of a frozen weight is as much again (the gradient by its input),
    of a trained one twice as much. Attention goes backward through both factors: twice. The vocabulary is only
    needed at completion tokens. `lora` None: all weights are trained.
    """
    tokens = sum(work.tokens for work in groups)
    predicted = sum(sum(work.completions) for work in groups)
    forward = 2 * block_weights(facts) * tokens + 2 * facts.hidden * facts.vocab * predicted
    scores = attention(facts, sum(work.pairs for work in groups))
    backward = 2 * forward if lora is None else forward
    total = forward + backward + 3 * scores
    if lora is not None:
        adapters = lora.rank * sum(part.inputs + part.outputs for part in facts.adapted(lora))
        total += 3 * 2 * adapters * tokens
    return total + (forward + scores if reference else 0)


def decoded_weight_bytes(facts: ModelFacts) -> float:
    """Bytes of weights a decoding step reads: all blocks and the vocabulary's projection."""
    values = block_weights(facts) + facts.hidden * facts.vocab
    return values * facts.stored_bytes / facts.parameters


def cache_bytes(facts: ModelFacts, groups: Sequence[Work]) -> int:
    """Bytes of the keys and values of these groups, each prompt's kept once."""
    tokens = sum(work.tokens for work in groups)
    return 2 * facts.blocks * facts.kv_heads * facts.head_dim * facts.stored_item_bytes * tokens


def decoding_step(facts: ModelFacts, contexts: Sequence[int]) -> float:
    """Flops of one more token for every row, whose contexts have these lengths."""
    weights = block_weights(facts) + facts.hidden * facts.vocab
    return 2 * weights * len(contexts) + attention(facts, sum(contexts))


def decoding_bound(facts: ModelFacts, contexts: Sequence[int], *, gflops: float, bandwidth: float) -> float:
    """Least seconds of a decoding step: the larger of reading the weights and multiplying by them."""
    return max(decoded_weight_bytes(facts) / bandwidth, decoding_step(facts, contexts) / gflops / 1e9)
