"""A byte-level model of two layers that writes nonsense quickly, and benchmarks run on it in this process."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models import llama

SHAPE = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
CHAT = "{% for m in messages %}<user>{{ m['content'] }}</user>{% endfor %}<model>"
EXTRA = ["<eos>", "Wait", "\n</", "</think>"]  # ids 256 to 259


def byte_tokenizer() -> Any:
    """256 bytes, the end, and words of several letters; `</think>` is one token and several."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([EXTRA[0]])
    made.add_tokens(EXTRA[1:])
    return made


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's directory; it stops after some 20 tokens."""
    folder = tmp_path_factory.mktemp("models") / "bytes"
    folder.mkdir()
    words = byte_tokenizer()
    words.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EXTRA[0], "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    shape = {**SHAPE, "vocab_size": words.get_vocab_size(), "eos_token_id": 256}
    (folder / "config.json").write_text(json.dumps(shape))
    mx.random.seed(0)
    model = llama.Model(llama.ModelArgs.from_dict(shape))
    leaves = [(name, leaf * 2) for name, leaf in tree_flatten(model.parameters())]
    model.update(tree_unflatten(leaves))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    return folder


class Bench:
    """Runs of `python -m benchmarks.word_problems` in this process."""

    def __init__(self, root: Path, model: Path, capsys: Any) -> None:
        self.root, self.model, self.capsys = root, model, capsys
        rows = [{"question": f"What is {i} + {i}?", "answer": str(2 * i), "level": str(i % 2)} for i in range(7)]
        self.data = root / "questions.jsonl"
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def arguments(self, *more: str, name: str = "run") -> list[str]:
        fixed = ["--model", str(self.model), "--data", str(self.data), "--samples", "3", "--max-tokens", "16"]
        return [*fixed, "--max-rows", "6", "--output", str(self.root / name), *more]

    def run(self, *more: str, name: str = "run") -> tuple[int, str, str]:
        from benchmarks import word_problems
        from benchmarks.harness.engine import main

        self.capsys.readouterr()
        code = main(word_problems.BENCHMARK, "", self.arguments(*more, name=name))
        return code, *self.capsys.readouterr()

    def items(self, name: str = "run") -> list[dict[str, Any]]:
        lines = (self.root / name / "items.jsonl").read_text().splitlines()
        return sorted((json.loads(line) for line in lines), key=lambda item: (item["problem"], item["sample"]))

    def results(self, name: str = "run") -> dict[str, Any]:
        return json.loads((self.root / name / "results.json").read_text())


@pytest.fixture
def bench(tmp_path: Path, byte_model: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, byte_model, capsys)


@pytest.fixture(scope="session")
def words() -> Any:
    """The byte tokenizer as mlx_lm would wrap it."""

    class Wrapped:
        def __init__(self) -> None:
            self.inner = byte_tokenizer()

        def encode(self, text: str, **_: Any) -> list[int]:
            return self.inner.encode(text, add_special_tokens=False).ids

        def decode(self, tokens: Sequence[int]) -> str:
            return self.inner.decode(list(tokens), skip_special_tokens=False)

    return Wrapped()
