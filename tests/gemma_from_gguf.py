"""Write an MLX directory of a Gemma 3 GGUF file: a second real model for the tests, with a vocabulary of 262k tokens.

    pip install gguf
    python tests/gemma_from_gguf.py FILE.gguf OUT_DIR

mx.load refuses Q4_K_M files of this model (they hold Q5_0), so the weights are de-quantised to float32. Gemma's licence
is its own (ai.google.dev/gemma/terms), which whoever fetches a file has to accept: no test downloads one.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
SHAPE = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "sliding_window": "attention.sliding_window",
    "max_position_embeddings": "context_length",
}
FIXED = {"model_type": "gemma3_text", "rope_local_base_freq": 10000.0, "query_pre_attn_scalar": 256,
         "sliding_window_pattern": 6, "tie_word_embeddings": True}  # fmt: skip

SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}  # ours -> the file's
CONTROL, OF_THE_USER = 3, 4  # types of tokens in a GGUF file


def mlx_name(name: str) -> str:
    """The name of a GGUF tensor in MLX's gemma3_text."""
    part = name.removesuffix(".weight")
    found = re.fullmatch(r"blk\.(\d+)\.(.+)", part)
    return f"{OUTSIDE[part]}.weight" if found is None else f"model.layers.{found[1]}.{PARTS[found[2]]}.weight"


def write(file: Path, folder: Path) -> None:
    """Write weights, config.json and tokenizer."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(str(file))
    said = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF")}
    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).reshape(tuple(map(int, reversed(tensor.shape))))
        name = mlx_name(tensor.name)
        weights[name] = mx.array(values.astype(np.float32)) - ("norm" in name)  # llama.cpp adds Gemma's 1 to its norms
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    vocabulary = said["tokenizer.ggml.tokens"]
    ids = {name: said[f"tokenizer.ggml.{key}_token_id"] for name, key in SPECIAL.items()}
    shape = {name: said[f"gemma3.{key}"] for name, key in SHAPE.items()}
    endings = {f"{name}_token_id": ids[name] for name in ("bos", "eos", "pad")}
    settings = {**FIXED, **shape, **endings, "vocab_size": len(vocabulary)}
    (folder / "config.json").write_text(json.dumps(settings, indent=1))
    kinds = said["tokenizer.ggml.token_type"]
    tokenizer(vocabulary, said["tokenizer.ggml.scores"], kinds, ids).save(str(folder / "tokenizer.json"))
    names = {f"{name}_token": vocabulary[number] for name, number in ids.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))


def tokenizer(
    vocabulary: Sequence[str], scores: Sequence[float], kinds: Sequence[int], ids: Mapping[str, int]
) -> Tokenizer:
    """Gemma's byte-pair tokenizer; a merge is as likely as the score of what it gives."""
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    merges = []
    for piece, score in zip(vocabulary, scores, strict=True):
        cuts = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        pairs = sorted((numbers[left], numbers[right]) for left, right in cuts if left in numbers and right in numbers)
        merges += [(score, (vocabulary[left], vocabulary[right])) for left, right in pairs]
    merges.sort(key=lambda one: -one[0])
    made = Tokenizer(models.BPE(numbers, [pair for _, pair in merges], unk_token=vocabulary[ids["unk"]],
                                fuse_unk=True, byte_fallback=True))  # fmt: skip
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bos = vocabulary[ids["bos"]]
    made.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, ids["bos"])])
    added = [(piece, kind) for piece, kind in zip(vocabulary, kinds, strict=True) if kind in (CONTROL, OF_THE_USER)]
    made.add_tokens([AddedToken(piece, normalized=False, special=kind == CONTROL) for piece, kind in added])
    return made


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
