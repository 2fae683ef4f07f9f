"""Which blocks a smaller model keeps: those that the loss on the given rows misses most."""

import json

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

from distill.sft.config import SFTConfig
from distill.student.blocks import choose_blocks
from distill.student.prune import prune
from grpo.config.sections import ConfigError
from grpo.runs.interrupt import Interrupted
from tests.distill.small_models import corpus, model_directory

BLOCKS = 5
IDLE = (1, 3)  # blocks that add nothing to what they are given


@pytest.fixture
def model(tmp_path):
    """A model of five blocks, two of which do nothing."""
    folder = model_directory(tmp_path / "model", num_hidden_layers=BLOCKS)
    path = folder / "model.safetensors"
    weights = dict(mx.load(str(path)))
    for block in IDLE:
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            weights[f"model.layers.{block}.{name}.weight"] *= 0
    mx.save_safetensors(str(path), weights, metadata={"format": "mlx"})
    return folder


@pytest.fixture
def config(model, tmp_path):
    return SFTConfig(model=str(model), data=str(corpus(tmp_path / "rows.jsonl", rows=6)))


def choose(config, keep, record, check=lambda: None):
    return choose_blocks(config, keep, record, check, lambda _: None)


def steps(record):
    return json.loads(record.read_text())["steps"]


def test_blocks_that_do_nothing_go_first_and_cost_nothing(config, tmp_path):
    record = tmp_path / "dropped.json"
    assert choose(config, BLOCKS - len(IDLE), record) == [0, 2, 4]
    whole, *dropped = steps(record)
    assert whole["block"] is None and {step["block"] for step in dropped} == set(IDLE)
    assert all(step["loss"] == pytest.approx(whole["loss"], abs=1e-5) for step in dropped)


def test_a_recorded_loss_is_that_of_the_pruned_model(config, tmp_path):
    record = tmp_path / "dropped.json"
    stay = choose(config, 2, record)
    prune(config.model, stay, tmp_path / "small")
    assert len(load_model(tmp_path / "small")[0].layers) == 2
    again = config.model_copy(update={"model": str(tmp_path / "small")})
    choose(again, 1, tmp_path / "of_small.json")
    assert steps(tmp_path / "of_small.json")[0]["loss"] == pytest.approx(steps(record)[-1]["loss"], abs=1e-5)


def test_an_interrupted_choice_goes_on_where_it_was(config, tmp_path):
    whole = choose(config, 1, tmp_path / "whole.json")
    passes = 0

    def stop_at_the_third_block():
        nonlocal passes
        passes += 1
        if passes > 1 + BLOCKS + (BLOCKS - 1) + 1:
            raise Interrupted(2)

    record = tmp_path / "dropped.json"
    with pytest.raises(Interrupted):
        choose(config, 1, record, stop_at_the_third_block)
    assert len(steps(record)) == 3
    rest = []
    assert choose(config, 1, record, lambda: rest.append(1)) == whole
    assert len(rest) == 3 + 2
    assert steps(record) == steps(tmp_path / "whole.json")


def test_the_model_is_left_as_it_was(config, model, tmp_path):
    before = {name: weight for name, weight in tree_flatten(load_model(model)[0].parameters())}
    choose(config, 4, tmp_path / "dropped.json")
    after = dict(tree_flatten(load_model(model)[0].parameters()))
    assert all(mx.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("keep", [BLOCKS, BLOCKS + 1])
def test_as_many_blocks_as_there_are_is_no_choice(config, keep, tmp_path):
    with pytest.raises(ConfigError, match=f"keep must be less than the {BLOCKS} blocks"):
        choose(config, keep, tmp_path / "dropped.json")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"steps": 3}', '{"steps": [{"block": null, "loss": 1.0}, {"block": 9, "loss": 1.0}]}',
     '{"steps": [{"block": null, "loss": "x"}]}', '{"steps": [{"block": null, "loss": 1.0}, {"loss": 1.0}]}'],
)  # fmt: skip
def test_a_damaged_record_is_one_line(config, text, tmp_path):
    record = tmp_path / "dropped.json"
    record.write_text(text)
    with pytest.raises(ConfigError) as error:
        choose(config, 3, record)
    assert str(record) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["qwen3", "gemma2", "deepseek_v3", "falcon_h1"])
def test_other_architectures_choose_too(kind, tmp_path):
    folder = model_directory(tmp_path / kind, kind)
    config = SFTConfig(model=str(folder), data=str(corpus(tmp_path / "rows.jsonl", rows=4)))
    stay = choose(config, 1, tmp_path / "dropped.json")
    prune(str(folder), stay, tmp_path / "small")
    assert len(load_model(tmp_path / "small")[0].layers) == 1


def test_a_pattern_of_blocks_that_can_not_be_cut_is_one_line(tmp_path):
    """One block attends, the other is recurrent: neither can go, and the weights' places say so."""
    folder = model_directory(tmp_path / "hybrid", "qwen3_5")
    config = SFTConfig(model=str(folder), data=str(corpus(tmp_path / "rows.jsonl", rows=4)))
    with pytest.raises(ConfigError, match=r"none of the 2 blocks that are left can go: .*; name those that stay"):
        choose(config, 1, tmp_path / "dropped.json")
