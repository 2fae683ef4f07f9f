"""How much memory a run needs, from its config and the model's files alone: nothing is loaded.

The sizes of weights, adapters, caches and optimizer state follow from their shapes. What a micro-batch keeps for its
backward pass does not: the factors below are fitted to measured peaks (mx.get_peak_memory; float32 on a CPU, Llama-type
blocks of hidden size 576, 190 to 1150 tokens, 2 to 30 blocks). The peaks of those runs come out within 4% for LoRA on
all linear layers and within 17% for full fine-tuning, those of four runs of the trainer that had no part in the fit
within 22%, gradient_checkpointing within 6%. Other dtypes, devices and architectures are extrapolated.
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo.config import Config, LoRA

OUTPUT_COPIES = 2.45  # values kept a token and output of a linear layer: itself, its share of norms, gates, adapters
HEAD_COPIES = 2  # of the gradient of the vocabulary's weights, where they are trained, and one more a chunk of logits
SCORE_COPIES = 1.2  # values kept a pair of query and key, a head
LOGITS_AHEAD = 8  # chunks of logits alive at a time: mlx runs ahead of the one it waits for
UPDATE_COPIES = 3.5  # of everything trained, while the optimizer replaces it
SAMPLER_COPIES = 5  # rows of the vocabulary that drawing one token takes
DECODING_BLOCK = 64  # tokens by which the cache of completions grows (grpo.prefix.KV_BLOCK)
PROCESS_BYTES = 700_000_000  # Python, the tokenizer and the processes of the rewards
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "U64": 8, "I64": 8, "U32": 4, "I32": 4, "U16": 2}
FLOATS = {"F64", "F32", "F16", "BF16"}
GIGABYTE = 1e9

# hidden, blocks, heads, kv_heads, head_dim, intermediate, vocab, tied: from each model's published config.json
KNOWN_SHAPES = {
    "smollm2-135m": (576, 30, 9, 3, 64, 1536, 49152, True),
    "smollm2-360m": (960, 32, 15, 5, 64, 2560, 49152, True),
    "smollm2-1.7b": (2048, 24, 32, 32, 64, 8192, 49152, True),
    "qwen2.5-0.5b": (896, 24, 14, 2, 64, 4864, 151936, True),
    "qwen2.5-1.5b": (1536, 28, 12, 2, 128, 8960, 151936, True),
    "qwen2.5-3b": (2048, 36, 16, 2, 128, 11008, 151936, True),
    "qwen2.5-7b": (3584, 28, 28, 4, 128, 18944, 152064, False),
    "qwen3-0.6b": (1024, 28, 16, 8, 128, 3072, 151936, True),
    "qwen3-1.7b": (2048, 28, 16, 8, 128, 6144, 151936, True),
    "qwen3-4b": (2560, 36, 32, 8, 128, 9728, 151936, True),
    "qwen3-8b": (4096, 36, 32, 8, 128, 12288, 151936, False),
    "llama-3.2-1b": (2048, 16, 32, 8, 64, 8192, 128256, True),
    "llama-3.2-3b": (3072, 28, 24, 8, 128, 8192, 128256, True),
    "llama-3.1-8b": (4096, 32, 32, 8, 128, 14336, 128256, False),
}


@dataclass(frozen=True)
class Linear:
    """A linear layer of a block."""

    name: str  # the last part, e.g. q_proj
    block: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class ModelFacts:
    """What of a model decides how much memory it takes."""

    architecture: str
    blocks: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    linears: tuple[Linear, ...]  # of all blocks
    parameters: int
    float_values: int  # stored in a floating dtype, the scales of quantised weights included
    stored_item_bytes: int  # of those
    packed_bytes: int = 0  # of quantised weights
    bits: int | None = None  # of quantised weights

    @property
    def quantised(self) -> bool:
        """Whether the linear weights are stored in a few bits."""
        return self.packed_bytes > 0

    @property
    def outputs(self) -> int:
        """Outputs of the linear layers of all blocks, for one token."""
        return sum(linear.outputs for linear in self.linears)

    @property
    def stored_bytes(self) -> int:
        return self.packed_bytes + self.float_values * self.stored_item_bytes

    def adapted(self, lora: LoRA) -> list[Linear]:
        """The linear layers that get an adapter."""
        first = self.blocks - (self.blocks if lora.layers < 0 else lora.layers)
        return [
            part
            for part in self.linears
            if part.block >= first and (lora.targets == "all" or part.name in lora.targets)
        ]


def facts_of_directory(folder: Path) -> ModelFacts:
    """Facts of a local model directory: its config.json and the headers of its safetensors files.

    Raises ValueError, one line, for a directory that is no whole model.
    """
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no config.json: it is no model directory") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} can't be read: {' '.join(str(error).split())}") from None
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("weight*.safetensors"))
    if not files:
        raise ValueError(f"{folder} holds no model*.safetensors: the weights are missing")
    tensors: dict[str, tuple[str, list[int]]] = {}
    for file in files:
        tensors |= read_header(file)
    return _with_tensors(facts_of_settings(settings), tensors, settings)


def read_header(file: Path) -> dict[str, tuple[str, list[int]]]:
    """Tensor name -> (dtype, shape), from the start of a safetensors file; ValueError if it is not a whole one."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if 2 <= length <= 100_000_000 else None
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"{file} is no safetensors file, or only a pointer to one")
    tensors = {name: part for name, part in header.items() if name != "__metadata__"}
    end = 8 + length + max((part["data_offsets"][1] for part in tensors.values()), default=0)
    if file.stat().st_size < end:
        raise ValueError(f"{file} is cut short: {file.stat().st_size} of {end} bytes")
    return {name: (part["dtype"], part["shape"]) for name, part in tensors.items()}


def facts_of_settings(settings: Mapping[str, Any], item_bytes: int | None = None) -> ModelFacts:
    """Facts of a Llama-type model from its config.json alone; ValueError if that names none of its sizes."""
    text = settings.get("text_config", settings)
    try:
        hidden, blocks, heads = text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"]
        inner, vocab = text["intermediate_size"], text["vocab_size"]
    except KeyError as error:
        raise ValueError(f"config.json has no {error.args[0]}: what this model needs is not known") from None
    kv_heads = text.get("num_key_value_heads") or heads
    head_dim = text.get("head_dim") or hidden // heads
    linears = tuple(
        Linear(name, block, inputs, outputs)
        for block in range(blocks)
        for name, inputs, outputs in (
            ("q_proj", hidden, heads * head_dim),
            ("k_proj", hidden, kv_heads * head_dim),
            ("v_proj", hidden, kv_heads * head_dim),
            ("o_proj", heads * head_dim, hidden),
            ("gate_proj", hidden, inner),
            ("up_proj", hidden, inner),
            ("down_proj", inner, hidden),
        )
    )
    tied = text.get("tie_word_embeddings", settings.get("tie_word_embeddings", False))
    tables = hidden * vocab * (1 if tied else 2)
    parameters = tables + sum(part.inputs * part.outputs for part in linears)
    stored = item_bytes or (4 if "32" in str(text.get("torch_dtype", text.get("dtype", ""))) else 2)
    name = str(settings.get("model_type", "llama"))
    return ModelFacts(name, blocks, hidden, heads, kv_heads, head_dim, vocab, linears, parameters, parameters, stored)


def facts_of_name(name: str) -> ModelFacts | None:
    """Rough facts of a model that is not here, if its name says which it is (Qwen2.5-0.5B-Instruct-4bit)."""
    lowered = name.lower()
    known = next((key for key in KNOWN_SHAPES if re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", lowered)), None)
    if known is None:
        return None
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
    shape = KNOWN_SHAPES[known]
    settings = dict(zip((*keys, "intermediate_size", "vocab_size", "tie_word_embeddings"), shape, strict=True))
    facts = facts_of_settings({"model_type": known, **settings}, item_bytes=2)
    bits = re.search(r"(\d)-?bits?\b", lowered)
    if bits is None:
        return facts
    scales = facts.parameters // 64 * 2  # a scale and a bias for every group of 64
    packed = facts.parameters * int(bits[1]) // 8
    return ModelFacts(**(vars(facts) | {"float_values": scales, "packed_bytes": packed, "bits": int(bits[1])}))


def _with_tensors(
    facts: ModelFacts, tensors: Mapping[str, tuple[str, list[int]]], settings: Mapping[str, Any]
) -> ModelFacts:
    """The same facts with sizes as stored, and the linear layers that are really there."""
    group_size = (settings.get("quantization") or {}).get("group_size", 64)
    tied = settings.get("tie_word_embeddings", False)
    linears, parameters, float_values, packed_bytes, items, bits = [], 0, 0, 0, 2, None
    for name, (dtype, shape) in tensors.items():
        if name.endswith("rotary_emb.inv_freq") or (tied and name.startswith("lm_head.")):
            continue
        size, base = math.prod(shape), name.removesuffix(".weight")
        scales = tensors.get(f"{base}.scales") if name.endswith(".weight") else None
        inputs = shape[-1] if scales is None else scales[1][-1] * group_size
        if scales is not None:
            packed_bytes += size * ITEM_BYTES.get(dtype, 4)
            bits = 32 * shape[-1] // inputs
            parameters += size // shape[-1] * inputs
        else:
            float_values += size
            items = max(items, ITEM_BYTES.get(dtype, 4)) if dtype in FLOATS else items
            parameters += (
                0 if name.endswith((".scales", ".biases")) and f"{name.rpartition('.')[0]}.weight" in tensors else size
            )
        block = re.search(r"\blayers\.(\d+)\.", name)
        if block and len(shape) == 2 and name.endswith(".weight"):
            linears.append(Linear(base.rpartition(".")[2], int(block[1]), inputs, shape[0]))
    changed = {"parameters": parameters, "float_values": float_values, "packed_bytes": packed_bytes, "bits": bits}
    return ModelFacts(
        **(vars(facts) | changed | {"stored_item_bytes": items, "linears": tuple(linears) or facts.linears})
    )


@dataclass(frozen=True)
class Estimate:
    """Bytes of each part of a run. Sampling and training take turns: the larger of the two counts."""

    weights: int
    trained: int  # adapters; 0 in full fine-tuning, where the weights are
    reference: int
    optimizer: int
    merged: int  # sampling: the copy of the weights with the adapter added
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
        return max(self.activations + self.logits + self.gradients, self.update)

    @property
    def peak_bytes(self) -> int:
        """What mlx holds at most; compare mx.get_peak_memory."""
        return self.always + max(self.sampling, self.training)

    @property
    def total_bytes(self) -> int:
        return self.peak_bytes + PROCESS_BYTES

    def lines(self) -> list[str]:
        """The parts in words, largest matter first to last as a run meets them."""
        always = {"weights": self.weights + self.trained, "reference": self.reference, "optimizer": self.optimizer}
        sampling = {"merged weights": self.merged, "key-value cache": self.cache, "drawing tokens": self.drawing}
        training = {"activations": self.activations, "logits": self.logits, "gradients": self.gradients}
        if self.update > self.activations + self.logits + self.gradients:
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
    """What a run takes when every completion is of max_completion_length, the most it can.

    prompt_tokens: of the longest prompt; None takes max_prompt_length.
    """
    prompt = min(prompt_tokens or config.max_prompt_length, config.max_prompt_length)
    item = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 4 if on_cpu else facts.stored_item_bytes}[config.dtype]
    weights = facts.packed_bytes + facts.float_values * item
    lora = config.fine_tune == "lora"
    adapted = facts.adapted(config.lora) if lora else []
    adapters = 4 * config.lora.rank * sum(part.inputs + part.outputs for part in adapted)
    trained = adapters if lora else weights
    merges = lora and config.merge_adapter and not facts.quantised
    tokens, completion_tokens, prompts = micro_batch(config, prompt)
    head = 0 if lora else facts.hidden * facts.vocab * item
    chunks = min(4, math.ceil(completion_tokens / config.logits_chunk))
    return Estimate(
        weights=weights,
        trained=adapters,
        reference=trained if config.beta > 0 and (not lora or config.adapter is not None) else 0,
        optimizer=2 * trained,
        merged=item * sum(part.inputs * part.outputs for part in adapted) if merges else 0,
        cache=_cache_bytes(config, facts, prompt) * item,
        drawing=SAMPLER_COPIES * 4 * min(config.max_rows, config.batch) * facts.vocab,
        activations=int(_activation_values(config, facts, prompt, tokens, completion_tokens, prompts) * item),
        logits=4 * facts.vocab * min(2 * completion_tokens, LOGITS_AHEAD * config.logits_chunk),
        gradients=2 * trained if lora else trained + head * (HEAD_COPIES + chunks),
        update=int(UPDATE_COPIES * trained),
    )


def micro_batch(config: Config, prompt: int) -> tuple[int, int, int]:
    """Tokens, completion tokens and prompts of the largest micro-batch that grpo.batching can make."""
    group = prompt + config.num_generations * config.max_completion_length
    share = config.prompts_per_step // config.num_updates
    budget = max(config.token_budget, prompt + config.max_completion_length)
    prompts = max(1, min(share, budget // group))
    tokens = min(prompts * group, budget)
    return tokens, tokens - prompts * prompt, prompts


def _cache_bytes(config: Config, facts: ModelFacts, prompt: int) -> int:
    """Values of keys and values while decoding: each prompt once, and all rows grown to the full length."""
    groups = max(1, min(config.max_rows // config.num_generations, config.prompts_per_step))
    length = math.ceil(config.max_completion_length / DECODING_BLOCK) * DECODING_BLOCK
    return 2 * facts.blocks * facts.kv_heads * facts.head_dim * groups * (prompt + config.num_generations * length)


def _activation_values(
    config: Config, facts: ModelFacts, prompt: int, tokens: int, completion_tokens: int, prompts: int
) -> float:
    """Values kept for the backward pass by all blocks; with checkpointing each block's input, and two blocks whole."""
    pairs = completion_tokens * (prompt + config.max_completion_length) + prompts * prompt * prompt / 2
    values = OUTPUT_COPIES * tokens * facts.outputs + SCORE_COPIES * pairs * facts.heads * facts.blocks
    if config.gradient_checkpointing:
        return tokens * facts.hidden * facts.blocks + values * min(2, facts.blocks) / facts.blocks
    return values


def knob(config: Config, facts: ModelFacts, need: Estimate) -> str:
    """Which key makes the largest part that can be made smaller, smaller."""
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
            "gradient_checkpointing: true": 0 if shrinks or config.gradient_checkpointing else need.activations,
            "a lower max_completion_length": need.activations if not shrinks and config.gradient_checkpointing else 0,
            "a lower logits_chunk": need.logits,
        }
    return max(parts, key=lambda name: parts[name])


def fitting_token_budget(
    config: Config, facts: ModelFacts, available: int, *, on_cpu: bool, prompt_tokens: int | None = None
) -> int | None:
    """The token_budget, halved as often as it takes, that a run fits with; None if none does."""
    budget = config.token_budget
    while budget > config.max_completion_length:
        budget //= 2
        smaller = config.model_copy(update={"token_budget": budget})
        if estimate(smaller, facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens).total_bytes <= available:
            return budget
    return None


def available_bytes() -> tuple[int, str]:
    """Memory a run may use here, and what that is: Metal's recommended working set, the GPU's, or free main memory."""
    gpu = _gpu_bytes()
    if gpu is not None:
        return gpu
    free = [_meminfo(), _cgroup_left()]
    known = [size for size in free if size is not None]
    if known:
        return min(known), "of main memory free now"
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "of main memory"


def _gpu_bytes() -> tuple[int, str] | None:
    import mlx.core as mx

    if mx.default_device().type == mx.DeviceType.cpu:
        return None
    info: Mapping[str, Any] = mx.device_info() if hasattr(mx, "device_info") else mx.metal.device_info()
    for key, meaning in (
        ("max_recommended_working_set_size", "that Metal recommends to stay within"),
        ("free_memory", "of GPU memory free now"),
        ("total_memory", "of GPU memory"),
        ("memory_size", "of memory"),
    ):
        if info.get(key):
            return int(info[key]), meaning
    return None


def _meminfo(path: Path = Path("/proc/meminfo")) -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _cgroup_left(folders: Sequence[Path] = (Path("/sys/fs/cgroup"),)) -> int | None:
    """What a container's limit leaves, if there is one."""
    for folder in folders:
        try:
            limit = (folder / "memory.max").read_text().strip()
            used = int((folder / "memory.current").read_text())
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            return int(limit) - used
    return None
