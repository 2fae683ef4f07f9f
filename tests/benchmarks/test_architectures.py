"""The table of architectures says what is shared, whether both paths agree, and what data it was given."""

import json

import pytest

from benchmarks import architectures

SHAPE = {
    "model_type": "qwen3_moe",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "vocab_size": 120,
    "tie_word_embeddings": True,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 16,
    "norm_topk_prob": True,
}


@pytest.fixture
def tiny_rows(tmp_path):
    """A file of one architecture."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"model_type": "qwen3_moe", "config": SHAPE}))
    return path


def test_a_mixture_of_experts_is_measured_and_written(tiny_rows, tmp_path, capsys):
    arguments = ["--prompt", "6", "--samples", "2", "--tokens", "3", "--rounds", "1", "--output", str(tmp_path)]
    assert architectures.main(["--data", str(tiny_rows), "--only", "qwen3_moe", *arguments]) == 0
    found = json.loads((tmp_path / "architectures.json").read_text())["found"]["qwen3_moe"]
    assert (found["shared"], found["same"], found["experts"]) == (True, True, True) and found["faster"] > 0
    assert "| qwen3_moe | yes | yes | yes |" in capsys.readouterr().out


def test_a_name_that_is_not_there_is_one_line(tiny_rows, tmp_path, capsys):
    assert architectures.main(["--data", str(tiny_rows), "--only", "gpt9", "--output", str(tmp_path)]) == 2
    assert "has none of gpt9" in capsys.readouterr().err


def test_why_a_prompt_is_not_shared_is_in_the_table():
    refused = {"afm7": {"shared": False, "refused": "differs", "experts": False}}
    assert architectures.table(refused).splitlines()[-1] == "| afm7 | no: differs |  |  |  |"
