"""GGUF of byte-level BPE models: vocabulary, rule of words, names, order of the weights."""

import json

import mlx.core as mx
import pytest
from mlx_lm import load
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from distill.export import vocabulary
from distill.export.__main__ import main
from grpo.config.sections import ConfigError
from tests.distill.small_models import model_directory

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
AFTER = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def split(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), AFTER])


def byte_level(folder, pre=BYTES, size=280):
    """A tokenizer trained on a few words, in a model's directory."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the theory of the other thing"] * 9, trainer)
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True)])
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": "{{ x }}"})
    )
    return tokenizer


@pytest.mark.parametrize(
    ("pre", "name"),
    [
        (BYTES, "gpt-2"),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES]), "smollm"),
        *((split(regex), name) for regex, name in vocabulary.RULES.items()),
    ],
)
def test_the_rule_of_words_has_llama_cpps_name(tmp_path, pre, name):
    byte_level(tmp_path, pre)
    assert vocabulary.metadata(tmp_path, 300)["tokenizer.ggml.pre"] == name


def test_another_rule_is_refused(tmp_path):
    byte_level(tmp_path, split(r"\w+"))
    with pytest.raises(ConfigError, match=r"Split, ByteLevel.* not one that is known here"):
        vocabulary.metadata(tmp_path, 300)


def test_every_token_has_its_place_and_kind(tmp_path):
    tokenizer = byte_level(tmp_path)
    size = tokenizer.get_vocab_size()
    found = vocabulary.metadata(tmp_path, size + 3)
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"].tolist()
    assert all(tokens[place] == text for text, place in tokenizer.get_vocab().items())
    assert kinds[tokenizer.token_to_id("<|end|>")] == vocabulary.CONTROL
    assert kinds[tokenizer.token_to_id("<think>")] == vocabulary.USER_DEFINED
    assert tokens[size:] == [f"[PAD{size + n}]" for n in range(3)] and kinds[size:] == [vocabulary.UNUSED] * 3
    assert found["tokenizer.ggml.merges"][0].count(" ") == 1
    assert found["tokenizer.ggml.eos_token_id"].item() == tokenizer.token_to_id("<|end|>")
    assert found["tokenizer.chat_template"] == "{{ x }}"


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_a_model_is_written_with_its_vocabulary(tmp_path, capsys, kind):
    folder = model_directory(tmp_path / "model", kind, vocab_size=300)
    byte_level(folder)
    assert main(["--model", str(folder), "--output", str(tmp_path / "out"), "--gguf"]) == 0
    weights, metadata = mx.load(str(tmp_path / "out" / "model.gguf"), return_metadata=True)
    assert metadata["general.architecture"] == kind and metadata["tokenizer.ggml.model"] == "gpt2"
    assert metadata[f"{kind}.block_count"].item() == 2 and len(metadata["tokenizer.ggml.tokens"]) == 300
    model = load(str(folder))[0]
    stored = {"llama": False, "qwen2": True, "qwen3": True}[kind]
    assert mx.array_equal(weights["blk.0.attn_q.weight"], model.layers[0].self_attn.q_proj.weight).item() is stored
    assert mx.array_equal(weights["blk.0.attn_v.weight"], model.layers[0].self_attn.v_proj.weight).item()
    assert ("blk.1.attn_q_norm.weight" in weights) is (kind == "qwen3")
    assert ("blk.1.attn_q.bias" in weights) is (kind == "qwen2")
