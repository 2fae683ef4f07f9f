"""A model with fewer blocks: which weights stay, under which names, and that it is loaded and says the same."""

import json

import mlx.core as mx
import pytest
from mlx_lm.utils import load_model

from distill.student.prune import prune, renamed
from grpo.config.sections import ConfigError
from tests.distill.damage import SETTINGS, WEIGHTS, damage
from tests.distill.small_models import model_directory


def logits(model, tokens):
    return model(mx.array([tokens]))


@pytest.fixture
def model(tmp_path):
    return model_directory(tmp_path / "model", num_hidden_layers=3)


def test_all_blocks_in_their_order_are_the_same_model(model, tmp_path):
    figures = prune(str(model), [0, 1, 2], tmp_path / "same")
    assert figures["parameters"] == figures["parameters_before"]
    tokens = [3, 30, 31, 40]
    assert mx.array_equal(logits(load_model(model)[0], tokens), logits(load_model(tmp_path / "same")[0], tokens))


def test_a_block_that_stays_keeps_its_weights_under_its_new_number(model, tmp_path):
    prune(str(model), [0, 2], tmp_path / "small")
    before, after = load_model(model)[0], load_model(tmp_path / "small")[0]
    assert len(after.layers) == 2
    assert mx.array_equal(before.layers[2].self_attn.q_proj.weight, after.layers[1].self_attn.q_proj.weight)
    assert mx.array_equal(before.model.embed_tokens.weight, after.model.embed_tokens.weight)
    assert json.loads((tmp_path / "small" / "config.json").read_text())["num_hidden_layers"] == 2
    assert (tmp_path / "small" / "tokenizer.json").exists()


def test_a_list_with_a_value_a_block_keeps_those_of_the_blocks_that_stay(model, tmp_path):
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(settings | {"sizes": [5, 6, 7]}))
    prune(str(model), [0, 2], tmp_path / "small")
    assert json.loads((tmp_path / "small" / "config.json").read_text())["sizes"] == [5, 7]


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("model.layers.2.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"),
        ("model.layers.1.mlp.up_proj.weight", None),
        ("language_model.model.layers.2.mlp.experts.5.w1", "language_model.model.layers.1.mlp.experts.5.w1"),
        ("vision_tower.encoder.layers.1.weight", "vision_tower.encoder.layers.1.weight"),
        ("model.norm.weight", "model.norm.weight"),
    ],
)
def test_names_follow_the_blocks(name, new):
    assert renamed(name, {0: 0, 2: 1}) == new


@pytest.mark.parametrize(
    ("blocks", "said"), [([0, 3], "blocks must be from 0 to 2"), ([1, 1], "blocks must differ, got [1, 1]")]
)
def test_blocks_that_are_not_there_are_refused(model, tmp_path, blocks, said):
    with pytest.raises(ConfigError) as error:
        prune(str(model), blocks, tmp_path / "small")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "how"), [*WEIGHTS, *SETTINGS, ("tokenizer.json", "a pipe"), ("tokenizer.json", "a directory")]
)
def test_a_damaged_model_is_refused_in_one_line(model, tmp_path, name, how):
    damage(model, name, how)
    with pytest.raises(ConfigError) as error:
        prune(str(model), [0], tmp_path / "small")
    assert str(error.value).startswith(f"model {model}: ") and "\n" not in str(error.value)


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        prune(str(tmp_path / "none"), [0], tmp_path / "small")
