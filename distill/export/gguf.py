"""GGUF by mlx_lm's writer, where what it writes is right, read back before it counts."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.gguf import convert_to_gguf, permute_weights, translate_weight_names

from grpo.config.sections import ConfigError

FILE = "model.gguf"
TYPES = ("llama", "mistral", "mixtral")


def write(folder: Path, model: nn.Module, settings: dict[str, Any]) -> Path:
    """model.gguf beside the exported weights; ConfigError where mlx_lm's writer can't or would write it wrongly."""
    require_writable(folder, settings)
    path, weights = folder / FILE, dict(tree_flatten(model.parameters()))
    with contextlib.redirect_stdout(io.StringIO()):
        convert_to_gguf(folder, dict(weights), settings, str(path))
    written = cast("dict[str, mx.array]", mx.load(str(path)))
    heads, kv_heads = settings["num_attention_heads"], settings["num_key_value_heads"]
    for name, leaf in cast("dict[str, mx.array]", weights).items():
        if "self_attn.q_proj.weight" in name:
            leaf = permute_weights(leaf, heads, heads)
        elif "self_attn.k_proj.weight" in name:
            leaf = permute_weights(leaf, heads, kv_heads)
        found = written.get(translate_weight_names(name))
        tolerance = 1e-3 if leaf.dtype == mx.bfloat16 else 0.0  # written as float16
        if found is None or not mx.allclose(found.astype(mx.float32), leaf.astype(mx.float32), tolerance, 1e-6).item():
            raise ConfigError(f"{path} read back does not hold {name} as it was: not exported")
    return path


def require_writable(folder: Path, settings: dict[str, Any]) -> None:
    """What mlx_lm's writer knows: Llama-type weights, and a vocabulary it will declare to be SentencePiece's."""
    kind = settings.get("model_type")
    if kind not in TYPES:
        raise ConfigError(f"gguf: mlx_lm writes {', '.join(TYPES)} only, this model is of type {kind}: {ELSEWHERE}")
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.exists():
        raise ConfigError(f"gguf: mlx_lm needs a tokenizer.json, this model has none: {ELSEWHERE}")
    if "ByteLevel" in json.dumps(json.loads(tokenizer.read_text()).get("pre_tokenizer")):
        raise ConfigError(
            "gguf: this model's vocabulary is byte-level BPE, which mlx_lm would declare to be SentencePiece's, and "
            f"llama.cpp would cut text into other tokens: {ELSEWHERE}"
        )


ELSEWHERE = "export without --gguf and run llama.cpp's convert_hf_to_gguf.py on the directory"
