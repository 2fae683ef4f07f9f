"""The vocabulary of a byte-level BPE tokenizer in GGUF's words, as llama.cpp reads it.

llama.cpp cuts a text into words before it merges bytes, by a rule it knows by name (`tokenizer.ggml.pre`). Which one a
tokenizer.json follows stands in its pre-tokenizer; one that is not among RULES is refused, since every text would be
cut differently.
"""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from grpo.config.sections import ConfigError

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama.cpp's types of tokens
ENDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
RULES = {  # the regular expression of the pre-tokenizer -> llama.cpp's name
    ENDS + r"\p{N}" + REST: "qwen2",
    ENDS + r"\p{N}{1,3}" + REST: "llama-bpe",
}
DIGITS_APART, GPT2 = "smollm", "gpt-2"


def is_byte_level(tokenizer: dict[str, Any]) -> bool:
    """Return whether a tokenizer.json is byte-level BPE."""
    return "ByteLevel" in json.dumps(tokenizer.get("pre_tokenizer"))


def rule_of(tokenizer: dict[str, Any]) -> str:
    """Return llama.cpp's name of the rule that cuts words; ConfigError for one that is not known here."""
    pre = tokenizer.get("pre_tokenizer") or {}
    parts = pre["pretokenizers"] if pre.get("type") == "Sequence" else [pre]
    kinds = [part["type"] for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return GPT2
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits") and parts[1].get("use_regex", True):
        return DIGITS_APART
    if kinds == ["Split", "ByteLevel"] and (found := RULES.get(parts[0]["pattern"].get("Regex", ""))):
        return found
    raise ConfigError(
        f"gguf: the rule by which this tokenizer cuts words ({', '.join(kinds)}) is not one that is known here: "
        "export without --gguf and run llama.cpp's convert_hf_to_gguf.py on the directory"
    )


def metadata(folder: Path, size: int) -> dict[str, Any]:
    """Return the `tokenizer.*` entries for a model of `size` embeddings in a directory with a tokenizer.json."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = {place: text for text, place in tokenizer["model"]["vocab"].items()}
    types = dict.fromkeys(pieces, NORMAL)
    for added in tokenizer.get("added_tokens", []):
        pieces[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    found: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": rule_of(tokenizer),
        "tokenizer.ggml.tokens": [pieces.get(place, f"[PAD{place}]") for place in range(size)],
        "tokenizer.ggml.token_type": mx.array([types.get(place, UNUSED) for place in range(size)], dtype=mx.int32),
        "tokenizer.ggml.merges": merges,
    }
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    places = {text: place for place, text in pieces.items()}
    for name, key in (("bos", "bos_token"), ("eos", "eos_token"), ("padding", "pad_token"), ("unknown", "unk_token")):
        text = settings.get(key)
        text = text.get("content") if isinstance(text, dict) else text
        if text in places:
            found[f"tokenizer.ggml.{name}_token_id"] = mx.array(places[text], dtype=mx.uint32)
    template = folder / "chat_template.jinja"
    told = template.read_text(encoding="utf-8") if template.exists() else settings.get("chat_template")
    if isinstance(told, str):
        found["tokenizer.chat_template"] = told
    return found
