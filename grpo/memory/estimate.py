"""Estimate the memory a run needs from its config and the sizes of its model.

The sizes of weights, adapters, caches and optimizer state follow from their shapes. What a micro-batch keeps for its
backward pass does not: the factors below are fitted to measured peaks (mx.get_peak_memory; float32 on a CPU,
SmolLM2-135M, micro-batches of 128 to 2024 tokens), which tests/grpo/test_memory.py lists. Other dtypes, devices and
architectures are extrapolated.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from grpo.attention.blocks import BLOCK_SCORES, MOST_SCORES
from grpo.config import Config
from grpo.cpu.lanes import most_lanes
from grpo.learner.batching import cut_for_lanes, keeps_prompts
from grpo.model.facts import ModelFacts

OUTPUT_COPIES = 1.4  # values kept a token and output of a linear layer: itself, its share of norms, gates, adapters
MERGED_OUTPUT_COPIES = 2.2  # the same where the adapters are added into the weights (grpo.model.adapters)
HEAD_COPIES = 2  # of the gradient of the vocabulary's weights, where they are trained
SCORE_COPIES = 0.85  # values kept a pair of query and key, a head
PROMPT_SCORE_COPIES = 0.6  # the same inside a prompt, of whose pairs half are never computed
LOGITS_AHEAD = 20  # arrays of a chunk of logits alive at a time where the head is trained: mlx runs ahead
BLOCK_ROWS, BLOCK_COLUMNS = 1024, 2048  # of logits where the head is frozen (grpo.logprobs.ROWS and COLUMNS)
BLOCKS_AHEAD = 8  # arrays of such a block alive at a time, in each lane
SPAN_COPIES = 3  # of a cut row's keys and values: themselves, those of the span that runs, their gradient
SCORE_BLOCKS_AHEAD = 2  # blocks of scores alive at a time, forward and backward
UPDATE_COPIES = 3.05  # of everything trained, while the optimizer replaces it
SAMPLER_COPIES = 5  # rows of the vocabulary that drawing one token takes
DECODING_BLOCK = 64  # tokens by which the cache of completions grows (grpo.rollout.columns.KV_BLOCK)
PROCESS_BYTES = 700_000_000  # Python, the tokenizer and the processes of the rewards
GIGABYTE = 1e9


@dataclass(frozen=True)
class Estimate:
    """Bytes of each part of a run. Sampling and training take turns: the larger of the two counts."""

    weights: int
    trained: int  # adapters; 0 in full fine-tuning, where the weights are
    reference: int
    optimizer: int
    merged: int  # the copy of the weights with the adapter added
    learns_merged: bool  # whether training keeps it
    cache: int  # sampling: keys and values of prompts and completions
    drawing: int  # sampling: vocabulary rows
    activations: int  # training: what a micro-batch keeps for its backward pass
    logits: int  # training
    gradients: int  # training
    update: int  # training, instead of the three above: the optimizer's new values

    @property
    def always(self) -> int:
        return self.weights + self.trained + self.reference + self.optimizer

    @property
    def sampling(self) -> int:
        return self.merged + self.cache + self.drawing

    @property
    def training(self) -> int:
        kept = self.merged if self.learns_merged else 0
        return max(kept + self.activations + self.logits + self.gradients, self.update)

    @property
    def peak_bytes(self) -> int:
        """Return the most memory mlx holds; compare mx.get_peak_memory."""
        return self.always + max(self.sampling, self.training)

    @property
    def total_bytes(self) -> int:
        return self.peak_bytes + PROCESS_BYTES

    def lines(self) -> list[str]:
        """The parts in words, largest matter first to last as a run meets them."""
        always = {"weights": self.weights + self.trained, "reference": self.reference, "optimizer": self.optimizer}
        sampling = {"merged weights": self.merged, "key-value cache": self.cache, "drawing tokens": self.drawing}
        training = {"activations": self.activations, "logits": self.logits, "gradients": self.gradients}
        if self.learns_merged:
            training = {"merged weights": self.merged} | training
        if self.update == self.training:
            training = {"replacing the weights": self.update}
        return [
            f"always {in_gb(self.always)}: {_named(always)}",
            f"while sampling {in_gb(self.sampling)}: {_named(sampling)}",
            f"while training {in_gb(self.training)}: {_named(training)}",
        ]


def in_gb(size: float) -> str:
    """Bytes as text in GB or MB."""
    return f"{size / GIGABYTE:.1f} GB" if size >= GIGABYTE / 10 else f"{size / 1e6:.0f} MB"


def _named(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {in_gb(size)}" for name, size in parts.items() if size >= 1e6) or "nothing"


def estimate(config: Config, facts: ModelFacts, *, on_cpu: bool, prompt_tokens: int | None = None) -> Estimate:
    """Estimate what a run takes if every completion has max_completion_length tokens.

    `prompt_tokens` are those of the longest prompt; None takes max_prompt_length.
    """
    prompt = min(prompt_tokens or config.max_prompt_length, config.max_prompt_length)
    item = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 4 if on_cpu else facts.stored_item_bytes}[config.dtype]
    weights = facts.packed_bytes + facts.float_values * item
    lora = config.fine_tune != "full"
    adapted = facts.adapted(config.lora) if lora else []
    adapters = 4 * config.lora.rank * sum(part.inputs + part.outputs for part in adapted)
    trained = adapters if lora else weights
    merges = lora and config.merge_adapter and not facts.quantised
    head = 0 if lora else facts.hidden * facts.vocab * item
    lanes = 1 if config.fine_tune == "full" else most_lanes(on_cpu)
    work = micro_batch(config, prompt, lanes)
    learns_merged = merges and item == 4 and config.adapter is None and config.lora.dropout == 0
    copies = MERGED_OUTPUT_COPIES if learns_merged else OUTPUT_COPIES
    return Estimate(
        weights=weights,
        trained=adapters,
        reference=trained if config.beta > 0 and (not lora or config.adapter is not None) else 0,
        optimizer=2 * trained,
        merged=item * sum(part.inputs * part.outputs for part in adapted) if merges else 0,
        learns_merged=learns_merged,
        cache=_cache_bytes(config, facts, prompt, item),
        drawing=SAMPLER_COPIES * 4 * min(config.max_rows, config.batch) * facts.vocab,
        activations=int(
            (
                _activation_values(config, facts, prompt, work, lanes, copies)
                + _span_values(config, facts, prompt, lanes)
            )
            * item
        ),
        logits=_logits_bytes(config, facts, work[1], lanes),
        gradients=2 * trained if lora else trained + head * HEAD_COPIES,
        update=int(UPDATE_COPIES * trained),
    )


def micro_batch(config: Config, prompt: int, lanes: int) -> tuple[int, int, int]:
    """Tokens, completion tokens and prompts of the largest micro-batches that grpo.learner.batching runs side by side.

    The prompt of a group that is cut runs apart from its completions.
    """
    completions = config.num_generations * config.max_completion_length
    group, share = prompt + completions, max(1, config.token_budget // lanes)
    groups = config.prompts_per_step // config.num_updates
    prompts = min(groups, lanes * (share // group))
    if prompts and not cut_for_lanes(groups, prompt, completions, lanes):
        return prompts * group, prompts * completions, prompts
    if config.max_completion_length > config.token_budget:  # a row is cut, grpo.learner.cutting
        return min(lanes, config.num_generations) * share, min(lanes, config.num_generations) * share, 0
    rows = lanes * max(1, share // config.max_completion_length)
    tokens = min(rows, config.num_generations) * config.max_completion_length
    return tokens, tokens, 0


def _span_values(config: Config, facts: ModelFacts, prompt: int, lanes: int) -> int:
    """Keys and values, and their gradient, of what runs in spans: the rows of all lanes, or the prompt."""
    cut = min(lanes, config.num_generations) * (prompt + config.max_completion_length)
    tokens = cut if config.max_completion_length > config.token_budget else 0
    tokens = max(tokens, prompt if prompt > config.token_budget else 0)
    return SPAN_COPIES * 2 * facts.kv_heads * facts.head_dim * facts.blocks * tokens


def _cache_bytes(config: Config, facts: ModelFacts, prompt: int, item: int) -> int:
    """Keys and values while decoding: each prompt once, and all rows grown to the full length.

    A quantised number takes kv_bits and its share of a scale and a bias; a layer at a time is whole again to be read.
    """
    groups = max(1, min(config.max_rows // config.num_generations, config.prompts_per_step))
    length = math.ceil(config.max_completion_length / DECODING_BLOCK) * DECODING_BLOCK
    layer = 2 * facts.kv_heads * facts.head_dim * groups  # numbers of a token of every prompt or row
    own = layer * config.num_generations * length
    if not config.kv_bits:
        return facts.blocks * (layer * prompt + own) * item
    quantised = config.kv_bits / 8 + 2 * item / min(64, facts.head_dim)  # bytes a number
    return facts.blocks * layer * prompt * item + int(facts.blocks * own * quantised) + own * item


def _logits_bytes(config: Config, facts: ModelFacts, completion_tokens: int, lanes: int) -> int:
    """Return the bytes of the logits in the micro-batches of all lanes; see grpo.logprobs."""
    if config.fine_tune == "full":
        return 4 * facts.vocab * min(4 * completion_tokens, LOGITS_AHEAD * config.logits_chunk)
    rows = min(max(1, completion_tokens // lanes), BLOCK_ROWS)
    return 4 * BLOCKS_AHEAD * lanes * rows * min(BLOCK_COLUMNS, max(1, config.logits_chunk * facts.vocab // rows))


def _activation_values(
    config: Config, facts: ModelFacts, prompt: int, work: tuple[int, int, int], lanes: int, copies: float
) -> float:
    """Values kept for the backward pass by all blocks, of micro-batches and of a prompt that runs apart."""
    tokens, completion_tokens, prompts = work
    seen = completion_tokens * (prompt + config.max_completion_length)
    scores = SCORE_COPIES * seen + PROMPT_SCORE_COPIES * prompts * prompt**2
    whole = _kept(config, facts, copies * tokens, tokens, scores, seen, lanes)
    if prompts:
        return whole
    span = prompt if prompt <= config.token_budget else max(1, config.token_budget // lanes)
    pairs = prompt**2 if span == prompt else 2 * span * prompt  # most spans look at all that is before them
    apart = _kept(config, facts, copies * span, span, PROMPT_SCORE_COPIES * pairs, pairs, 1)
    at_a_time = completion_tokens == config.num_generations * config.max_completion_length
    segments = lanes if at_a_time else lanes + 1
    if keeps_prompts(segments, prompt, token_budget=config.token_budget, lanes=lanes):
        return whole + apart
    return max(whole, apart)


def _kept(
    config: Config, facts: ModelFacts, outputs: float, inputs: int, scores: float, pairs: float, lanes: int
) -> float:
    """Return the values kept of the linear layers' outputs, the blocks' inputs and the heads' scores.

    With more `pairs` of query and key than a bound, scores are made in blocks of queries and not kept; of a cut row the
    spans just below that bound keep theirs. With checkpointing only the inputs are kept, and two blocks whole.
    """
    scores = scores * facts.heads
    if pairs * facts.heads > lanes * MOST_SCORES:
        scores = lanes * SCORE_BLOCKS_AHEAD * BLOCK_SCORES / facts.blocks
        if config.max_completion_length > config.token_budget:
            scores = lanes * SCORE_COPIES * MOST_SCORES
    values = outputs * facts.outputs + scores * facts.blocks
    if config.gradient_checkpointing is True:
        return inputs * facts.hidden * facts.blocks + values * min(2, facts.blocks) / facts.blocks
    return values


def knob(config: Config, facts: ModelFacts, need: Estimate) -> str:
    """Name the config key that reduces the largest adjustable part of the estimate."""
    weights = "a smaller model" + (
        "" if facts.quantised else ", or a 4-bit copy of it (model: ...-4bit) with fine_tune: lora"
    )
    parts = {weights: need.weights // 2}  # another model is the last thing to ask for
    if config.fine_tune == "full":
        parts = {"fine_tune: lora": need.reference + need.optimizer + need.update}
    if need.sampling >= need.training:
        parts |= {
            "merge_adapter: false": need.merged,
            "a lower max_rows or max_completion_length": need.cache if config.max_rows > config.num_generations else 0,
            "a lower max_completion_length": need.cache if config.max_rows <= config.num_generations else 0,
        }
    else:
        shrinks = config.token_budget > config.max_completion_length
        parts |= {
            "a lower token_budget": need.activations if shrinks else 0,
            "gradient_checkpointing: true": 0 if shrinks or config.gradient_checkpointing is True else need.activations,
            "a lower max_completion_length": need.activations
            if not shrinks and config.gradient_checkpointing is True
            else 0,
            "a lower logits_chunk": need.logits,
        }
    return max(parts, key=lambda name: parts[name])
