"""GGUF of Llama and Qwen models, read back before it counts.

mlx_lm's writer gives names, shapes and the vocabulary of SentencePiece models; byte-level BPE vocabularies, of which it
knows nothing, are `distill.export.vocabulary`'s.
"""

import json
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.gguf import HfVocab, permute_weights, prepare_metadata, translate_weight_names

from distill.export import vocabulary
from grpo.config.sections import ConfigError

FILE = "model.gguf"
PERMUTED = ("llama", "mistral", "mixtral")  # llama.cpp turns pairs of neighbours in these, halves in the others
TYPES = (*PERMUTED, "qwen2", "qwen3")
ELSEWHERE = "export without --gguf and run llama.cpp's convert_hf_to_gguf.py on the directory"


class _NoVocabulary:
    """A stand-in tokenizer for mlx_lm's metadata where the vocabulary is written here."""

    vocab_size = 0

    class tokenizer:
        bos_token_id = eos_token_id = unk_token_id = None

    def all_tokens(self) -> tuple[()]:
        return ()


def write(folder: Path, model: nn.Module, settings: dict[str, Any]) -> Path:
    """model.gguf beside the exported weights; ConfigError for a model whose GGUF would be wrong."""
    tokenizer = require_writable(folder, settings)
    path, weights = folder / FILE, cast("dict[str, mx.array]", dict(tree_flatten(model.parameters())))
    written = {_name(name): _as_stored(name, leaf, settings) for name, leaf in weights.items()}
    mx.save_gguf(str(path), written, _metadata(folder, settings, tokenizer, len(weights["model.embed_tokens.weight"])))
    found = cast("dict[str, mx.array]", mx.load(str(path)))
    for name, leaf in written.items():
        if name not in found or not mx.array_equal(found[name], leaf).item():
            raise ConfigError(f"{path} read back does not hold {name} as it was: not exported")
    return path


def require_writable(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return tokenizer.json of a model that can be written; ConfigError, one line, for another."""
    kind = settings.get("model_type")
    if kind not in TYPES:
        raise ConfigError(f"gguf: {', '.join(TYPES)} can be written, this model is of type {kind}: {ELSEWHERE}")
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ConfigError(f"gguf: this model has no tokenizer.json: {ELSEWHERE}")
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    if vocabulary.is_byte_level(tokenizer):
        vocabulary.rule_of(tokenizer)
    elif kind not in PERMUTED:
        raise ConfigError(f"gguf: a {kind} model is written with a byte-level BPE vocabulary only: {ELSEWHERE}")
    return tokenizer


def _metadata(folder: Path, settings: dict[str, Any], tokenizer: dict[str, Any], size: int) -> dict[str, Any]:
    if not vocabulary.is_byte_level(tokenizer):
        return prepare_metadata(settings, HfVocab.load(folder))
    found = {
        name: value for name, value in prepare_metadata(settings, _NoVocabulary()).items() if "tokenizer." not in name
    }
    kind = "llama" if settings["model_type"] in PERMUTED else settings["model_type"]
    found = {
        name.replace("llama.", f"{kind}.", 1) if name.startswith("llama.") else name: value
        for name, value in found.items()
    }
    found |= {"general.architecture": kind, f"{kind}.vocab_size": mx.array(size, dtype=mx.uint32)}
    if width := settings.get("head_dim"):
        sizes = ("attention.key_length", "attention.value_length", "rope.dimension_count")
        found |= {f"{kind}.{name}": mx.array(width, dtype=mx.uint32) for name in sizes}
    return found | vocabulary.metadata(folder, size)


def _name(name: str) -> str:
    return (
        translate_weight_names(name)
        .replace("self_attn.q_norm", "attn_q_norm")
        .replace("self_attn.k_norm", "attn_k_norm")
    )


def _as_stored(name: str, leaf: mx.array, settings: dict[str, Any]) -> mx.array:
    """A weight in llama.cpp's order and type: norms and biases in float32, bfloat16 as float16."""
    if settings["model_type"] in PERMUTED:
        heads, kv_heads = settings["num_attention_heads"], settings["num_key_value_heads"]
        if "self_attn.q_proj.weight" in name:
            leaf = permute_weights(leaf, heads, heads)
        elif "self_attn.k_proj.weight" in name:
            leaf = permute_weights(leaf, heads, kv_heads)
    if leaf.ndim == 1:
        return leaf.astype(mx.float32)
    return leaf.astype(mx.float32).astype(mx.float16) if leaf.dtype == mx.bfloat16 else leaf
