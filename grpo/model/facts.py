"""The sizes of a model that decide how much memory it takes: from its files, its name, or the loaded network."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo.config.sections import LoRA
from grpo.model.files import check_files

if TYPE_CHECKING:
    import mlx.nn as nn

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "U64": 8, "I64": 8, "U32": 4, "I32": 4, "U16": 2}
FLOATS = {"F64", "F32", "F16", "BF16"}

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
    "gemma-3-270m": (640, 18, 4, 1, 256, 2048, 262144, True),
    "gemma-3-1b": (1152, 26, 4, 1, 256, 6912, 262144, True),
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
    """The sizes of a model that decide how much memory it takes."""

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
        """Return whether the linear weights are stored in a few bits."""
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
    check_files(folder)
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
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"{file} is no safetensors file, or only a pointer to one")
    tensors = {name: _tensor(file, name, part) for name, part in header.items() if name != "__metadata__"}
    end = 8 + length + max((last for _, _, last in tensors.values()), default=0)
    if file.stat().st_size < end:
        raise ValueError(f"{file} is cut short: {file.stat().st_size} of {end} bytes")
    return {name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()}


def _tensor(file: Path, name: str, part: Any) -> tuple[str, list[int], int]:
    """The dtype, shape and last byte that a header gives a tensor."""
    try:
        dtype, shape, last = part["dtype"], list(part["shape"]), part["data_offsets"][1]
    except (KeyError, IndexError, TypeError):
        dtype, shape, last = None, [], None
    if not isinstance(dtype, str) or not all(isinstance(size, int) and size >= 0 for size in [*shape, last]):
        raise ValueError(f"{file}: its header gives tensor {name!r:.80} no dtype, shape and place")
    return dtype, shape, last


SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


def facts_of_settings(settings: Mapping[str, Any], item_bytes: int | None = None) -> ModelFacts:
    """Facts of a Llama-type model from its config.json alone; ValueError if that names none of its sizes."""
    text = settings.get("text_config", settings)
    if not isinstance(text, Mapping):
        raise ValueError(f"config.json: text_config must be an object, got a {type(text).__name__}")
    hidden, blocks, heads, inner, vocab = (_size(text, name) for name in SIZES)
    kv_heads = _size(text, "num_key_value_heads") if text.get("num_key_value_heads") else heads
    head_dim = _size(text, "head_dim") if text.get("head_dim") else hidden // heads
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


def _size(settings: Mapping[str, Any], name: str) -> int:
    if name not in settings:
        raise ValueError(f"config.json has no {name}: what this model needs is not known")
    value = settings[name]
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"config.json: {name} must be a whole number of at least 1, got {value!r:.80}")
    return value


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
    quantization = settings.get("quantization")
    group_size = quantization.get("group_size", 64) if isinstance(quantization, Mapping) else 64
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


def facts_of_model(model: "nn.Module") -> ModelFacts | None:
    """Facts of a loaded network, adapters left out; None for an architecture whose settings say too little."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    try:
        facts = facts_of_settings(vars(getattr(model, "args", object())))
    except (TypeError, ValueError):
        return None
    linears = []
    for block, layer in enumerate(model.layers):
        for path, part in layer.named_modules():
            if isinstance(part, nn.Linear | nn.QuantizedLinear):
                name = path.removesuffix(".linear").rpartition(".")[2]  # an adapter's weight is `linear` inside it
                outputs, width = part.weight.shape
                inputs = width * 32 // part.bits if isinstance(part, nn.QuantizedLinear) else width
                linears.append(Linear(name, block, inputs, outputs))
    leaves = [leaf for name, leaf in dict(tree_flatten(model.parameters())).items() if ".lora_" not in name]
    floats = [leaf for leaf in leaves if mx.issubdtype(leaf.dtype, mx.floating)]
    changed = {
        "linears": tuple(linears),
        "parameters": sum(part.inputs * part.outputs for part in linears) + facts.hidden * facts.vocab,
        "float_values": sum(leaf.size for leaf in floats),
        "stored_item_bytes": max(leaf.itemsize for leaf in floats),
        "packed_bytes": sum(leaf.nbytes for leaf in leaves if not mx.issubdtype(leaf.dtype, mx.floating)),
    }
    return ModelFacts(**(vars(facts) | changed))
