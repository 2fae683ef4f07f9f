"""Loading, adapters, and the two views of the network: as reference and for decoding."""

import json
import shutil

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

import grpo.model.adapters
import grpo.model.loading
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.cpu.blas import Blas
from grpo.cpu.switch import plain
from grpo.model.loading import load_policy

TOKENS = mx.array([[11, 12, 13, 14, 15]])


def lora_config(**overrides):
    return Config(**{"lora": {"rank": 4, "alpha": 8.0}, "seed": 3, **overrides})


def refused(folder, **overrides):
    """The message of the ConfigError: one line that names what is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_policy(lora_config(**overrides), str(folder))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


# Loading


def test_a_directory_is_loaded_with_fresh_adapters_on_every_linear_layer(tiny, tmp_path):
    policy = load_policy(lora_config(), str(tiny.directory(tmp_path)))
    assert mx.allclose(policy.model(TOKENS), tiny.model()(TOKENS), rtol=1e-5, atol=1e-5).item()
    # q, k, v, o, gate, up, down in 2 blocks, two matrices each
    assert len(policy.adapters) == 14 and len(policy.trainable()) == 28
    assert policy.stop_tokens == {2}
    assert policy.shares_prefixes and policy.head is not None


def test_the_seed_decides_the_adapters(tiny, tmp_path):
    folder = str(tiny.directory(tmp_path))
    first, same, other = (load_policy(lora_config(seed=seed), folder).trainable() for seed in (3, 3, 4))
    assert all(mx.array_equal(first[name], same[name]).item() for name in first)
    assert not any(mx.array_equal(first[name], other[name]).item() for name in first if name.endswith("lora_a"))


def test_full_fine_tuning_trains_every_leaf(tiny, tmp_path):
    policy = load_policy(Config(fine_tune="full"), str(tiny.directory(tmp_path)))
    assert policy.trainable().keys() == dict(tree_flatten(policy.model.parameters())).keys()
    assert policy.adapters == {}


def test_rank_scale_and_layers_are_as_configured(tiny, tmp_path):
    config = lora_config(lora={"rank": 2, "alpha": 6.0, "layers": 1, "targets": ["q_proj", "down_proj"]})
    policy = load_policy(config, str(tiny.directory(tmp_path)))
    assert sorted(policy.adapters) == [
        "model.layers.1.mlp.down_proj",
        "model.layers.1.self_attn.q_proj",
    ]  # the last block
    assert {part.scale for part in policy.adapters.values()} == {3.0}  # alpha / rank
    assert policy.trainable()["model.layers.1.self_attn.q_proj.lora_a"].shape == (32, 2)


@pytest.mark.parametrize(("asked", "dtype"), [("bfloat16", mx.bfloat16), ("float32", mx.float32)])
def test_dtype_is_as_configured(tiny, tmp_path, asked, dtype):
    policy = load_policy(Config(fine_tune="full", dtype=asked), str(tiny.directory(tmp_path)))
    assert {leaf.dtype for leaf in policy.trainable().values()} == {dtype}


# What can be wrong with a model directory


def test_no_such_directory(tmp_path):
    assert f"{tmp_path / 'none'}: no such directory" in refused(tmp_path / "none")


def test_a_directory_without_a_config(tmp_path):
    assert "can't be loaded" in refused(tmp_path)


def test_a_config_that_names_no_architecture(tiny, tmp_path):
    (tiny.directory(tmp_path) / "config.json").write_text("{}")
    assert "its config.json has no 'model_type'" in refused(tmp_path)


def test_a_config_that_is_no_json(tiny, tmp_path):
    (tiny.directory(tmp_path) / "config.json").write_text("{")
    assert "can't be loaded" in refused(tmp_path)


def test_an_unknown_architecture(tiny, tmp_path):
    (tiny.directory(tmp_path) / "config.json").write_text('{"model_type": "nonesuch"}')
    assert "nonesuch" in refused(tmp_path)


def test_no_weights(tiny, tmp_path):
    (tiny.directory(tmp_path) / "model.safetensors").unlink()
    assert "safetensors" in refused(tmp_path)


def test_torn_weights(tiny, tmp_path):
    path = tiny.directory(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "can't be loaded" in refused(tmp_path)


def test_weights_of_another_shape(tiny, tmp_path):
    config = tiny.directory(tmp_path) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "intermediate_size": 96}))
    assert "can't be loaded" in refused(tmp_path)


def test_no_tokenizer(tiny, tmp_path):
    for path in tiny.directory(tmp_path).glob("tokenizer*"):
        path.unlink()
    assert "can't be loaded" in refused(tmp_path)


@pytest.mark.parametrize("layers", [0, 3])
def test_lora_layers_beyond_the_model(tiny, tmp_path, layers):
    message = refused(tiny.directory(tmp_path), lora={"layers": layers})
    assert message == f"lora.layers must be -1 or 1 to 2, the blocks of this model, got {layers}"


def test_lora_targets_the_model_does_not_have(tiny, tmp_path):
    message = refused(tiny.directory(tmp_path), lora={"targets": ["query"]})
    assert "lora.targets: this model has no linear layer query; it has down_proj, gate_proj" in message
    assert "no linear layer query" in refused(tmp_path, lora={"targets": ["q_proj", "query"]})
    assert "lora.targets is empty" in refused(tmp_path, lora={"targets": []})


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"rank": 8}, "lora.rank is 8, but adapter"),
        ({"rank": 2, "alpha": 7.0}, "lora.alpha is 7.0, but adapter"),
        ({"targets": ["q_proj"]}, "lora.targets is ['q_proj'], but adapter"),
        ({"layers": 1}, "lora.layers is 1, but adapter"),
        ({"dropout": 0.5}, "lora.dropout is 0.5, but adapter"),
    ],
)
def test_settings_that_disagree_with_the_adapter_are_refused(tiny, tmp_path, lora, said):
    model = tiny.directory(tmp_path / "model")
    (tmp_path / "adapter").mkdir()
    mine = {"rank": 2, "alpha": 6.0, "targets": ["q_proj", "down_proj"]}
    load_policy(lora_config(lora=mine), str(model)).save_adapter(tmp_path / "adapter")
    message = refused(model, adapter=str(tmp_path / "adapter"), lora=lora)
    assert said in message and "leave it out" in message
    load_policy(lora_config(adapter=str(tmp_path / "adapter"), lora=mine), str(model))  # the same ones
    load_policy(lora_config(adapter=str(tmp_path / "adapter"), lora={}), str(model))  # none


def quantised_directory(tiny, folder):
    from mlx_lm.utils import quantize_model, save_config

    tiny.directory(folder)
    model, config = quantize_model(tiny.model(), json.loads((folder / "config.json").read_text()), 32, 4)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    save_config(config, folder / "config.json")
    return folder


def test_a_quantised_base_takes_adapters_and_no_full_fine_tuning(tiny, tmp_path):
    folder = quantised_directory(tiny, tmp_path)
    policy = load_policy(lora_config(), str(folder))
    assert len(policy.adapters) == 14
    assert all(isinstance(part.linear, nn.QuantizedLinear) for part in policy.adapters.values())
    assert "quantised: its weights can't be trained" in refused(folder, fine_tune="full")


# Adapters


def saved_adapter(tiny, folder, **settings):
    policy = tiny.policy(**{"fine_tune": "lora", "adapter_noise": 0.2, **settings})
    folder.mkdir()
    policy.save_adapter(folder)
    return policy


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_saved_adapter_loads_in_mlx_lm(tiny, tmp_path, blocks):
    from mlx_lm import load

    policy = saved_adapter(tiny, tmp_path / "adapter", blocks=blocks)
    model = load(str(tiny.directory(tmp_path / "model")), adapter_path=str(tmp_path / "adapter"))[0]
    assert mx.allclose(model(TOKENS), policy.model(TOKENS), rtol=1e-5, atol=1e-5).item()
    assert not mx.allclose(tiny.model()(TOKENS), policy.model(TOKENS), rtol=1e-2).item()  # it matters


def test_fully_tuned_weights_load_in_mlx_lm(tiny, tmp_path):
    from mlx_lm import load

    policy = saved_adapter(tiny, tmp_path / "adapter", fine_tune="full", seed=9)
    model = load(str(tiny.directory(tmp_path / "model")), adapter_path=str(tmp_path / "adapter"))[0]
    assert mx.allclose(model(TOKENS), policy.model(TOKENS), rtol=1e-5, atol=1e-5).item()


def test_a_run_starts_from_an_adapter_and_saves_it_again(tiny, tmp_path):
    policy = saved_adapter(tiny, tmp_path / "adapter", blocks=1)
    started = load_policy(Config(adapter=str(tmp_path / "adapter")), str(tiny.directory(tmp_path / "model")))
    assert started.trainable().keys() == policy.trainable().keys()
    assert mx.allclose(started.model(TOKENS), policy.model(TOKENS), rtol=1e-5, atol=1e-5).item()
    started.save_adapter(tmp_path)
    for name in ("adapters.safetensors", "adapter_config.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "adapter" / name).read_bytes()


def test_an_adapter_of_a_model_of_another_width(tiny, tmp_path):
    saved_adapter(tiny, tmp_path / "adapter", hidden_size=64, head_dim=16)
    message = refused(tiny.directory(tmp_path / "model"), adapter=str(tmp_path / "adapter"))
    assert "does not fit this model" in message


def test_an_adapter_of_a_model_with_other_layers(tiny, tmp_path):
    saved_adapter(tiny, tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    settings["lora_parameters"]["keys"] = ["self_attn.qkv_proj"]
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    message = refused(tiny.directory(tmp_path / "model"), adapter=str(tmp_path / "adapter"))
    assert "does not fit this model" in message


@pytest.mark.parametrize("file", ["adapters.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("fault", ["missing", "torn"])
def test_an_adapter_that_is_not_whole(tiny, tmp_path, file, fault):
    saved_adapter(tiny, tmp_path / "adapter")
    path = tmp_path / "adapter" / file
    whole = path.read_bytes()
    path.unlink()
    if fault == "torn":
        path.write_bytes(whole[: len(whole) // 2])
    message = refused(tiny.directory(tmp_path / "model"), adapter=str(tmp_path / "adapter"))
    assert "can't be read" in message


def test_an_adapter_of_another_type(tiny, tmp_path):
    saved_adapter(tiny, tmp_path / "adapter", fine_tune="full")
    message = refused(tiny.directory(tmp_path / "model"), adapter=str(tmp_path / "adapter"))
    assert "is of type full; only lora and dora adapters can be trained on" in message


def test_weights_of_another_adapter_are_not_taken_for_this_ones(tiny):
    policy = tiny.policy(fine_tune="lora")
    weights = policy.trainable()
    with pytest.raises(ValueError, match=r"1 leaves differ, e\.g\. model\.layers\.0\.mlp\.down_proj\.lora_a"):
        policy.load_trainable({**weights, "model.layers.0.mlp.down_proj.lora_a": mx.zeros((64, 2))})
    with pytest.raises(ValueError, match="28 leaves differ"):
        policy.load_trainable({})


# As reference


@pytest.mark.parametrize(
    "settings", [{"fine_tune": "lora"}, {"fine_tune": "lora", "adapter_noise": 0.2}, {"fine_tune": "full"}]
)
def test_as_reference_the_network_is_what_it_was_at_the_start(tiny, settings):
    policy = tiny.policy(**settings)
    start = np.array(policy.model(TOKENS))
    policy.freeze_reference()
    if settings == {"fine_tune": "lora"}:
        assert policy.reference_parameters is None  # without its adapter the network is the reference: no copy
    change(policy)
    moved = np.array(policy.model(TOKENS))
    with policy.as_reference():
        assert (np.array(policy.model(TOKENS)) == start).all()
    assert (np.array(policy.model(TOKENS)) == moved).all() and (moved != start).any()


def change(policy):
    mx.random.seed(1)
    policy.load_trainable(
        {name: leaf + 0.3 * mx.random.normal(leaf.shape) for name, leaf in policy.trainable().items()}
    )


@pytest.mark.parametrize(
    "settings", [{"fine_tune": "lora"}, {"fine_tune": "lora", "adapter_noise": 0.2}, {"fine_tune": "full"}]
)
@pytest.mark.parametrize("view", ["reference", "decoding"])
def test_a_view_that_is_left_by_an_error_restores_the_policy(tiny, settings, view):
    policy = tiny.policy(**settings)
    policy.freeze_reference()
    change(policy)
    before, parts = policy.trainable(), dict(policy.model.named_modules())
    with (
        pytest.raises(ZeroDivisionError),
        policy.as_reference() if view == "reference" else policy.decoding(merge=True),
    ):
        raise ZeroDivisionError
    assert dict(policy.model.named_modules()) == parts
    assert policy.trainable().keys() == before.keys()
    assert all(mx.array_equal(leaf, before[name]).item() for name, leaf in policy.trainable().items())


# For decoding


@pytest.mark.parametrize("few_rows", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])  # without and with biases
def test_a_merged_adapter_gives_the_same_logits(tiny, kind, few_rows, monkeypatch):
    monkeypatch.setattr(grpo.model.adapters, "load_blas", lambda: Blas("any", None, few_rows=few_rows))
    policy = tiny.policy(kind, fine_tune="lora", adapter_noise=0.2)
    expected = np.array(policy.model(TOKENS))
    with policy.decoding(merge=True):
        for part in policy.adapters.values():
            assert part.sum.weight.shape == part.linear.weight.T.shape
            by_input, by_output = memoryview(part.sum.weight).strides
            assert (by_input < by_output) == few_rows  # in memory [output, input], or [input, output]
        np.testing.assert_allclose(np.array(policy.model(TOKENS)), expected, rtol=1e-4, atol=1e-4)
    assert (np.array(policy.model(TOKENS)) == expected).all()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_merged_adapter_has_the_gradient_of_an_adapter_beside_its_weight(tiny, kind):
    policy = tiny.policy(kind, fine_tune="lora", adapter_noise=0.2)
    policy.model.train()

    def gradient():
        squares = nn.value_and_grad(policy.model, lambda tokens: policy.model(tokens).square().mean())
        return dict(tree_flatten(squares(TOKENS)[1]))

    beside = gradient()
    policy.merge()
    merged = gradient()
    assert policy.adapters and merged.keys() == beside.keys()
    for name, leaf in beside.items():
        scale = mx.abs(leaf).max().item()
        np.testing.assert_allclose(np.array(merged[name]), np.array(leaf), atol=1e-5 * scale, err_msg=name)


def test_a_changed_adapter_is_merged_anew(tiny):
    policy = tiny.policy(fine_tune="lora", adapter_noise=0.2)
    with policy.decoding(merge=True):
        before = np.array(policy.model(TOKENS))
    policy.load_trainable({name: 2 * leaf for name, leaf in policy.trainable().items()})
    expected = np.array(policy.model(TOKENS))
    with policy.decoding(merge=True):
        np.testing.assert_allclose(np.array(policy.model(TOKENS)), expected, rtol=1e-4, atol=1e-4)
    assert np.abs(before - expected).max() > 1e-2


def test_dropout_is_off_while_decoding(tiny):
    policy = tiny.policy(fine_tune="lora", adapter_noise=0.2)
    for part in policy.adapters.values():
        part.dropout = nn.Dropout(0.5)
    policy.model.train()
    with policy.decoding(merge=False):
        assert mx.array_equal(policy.model(TOKENS), policy.model(TOKENS)).item()


def test_a_quantised_weight_is_not_rounded_again(tiny):
    policy = tiny.policy(fine_tune="lora", adapter_noise=0.2, quantise=True)
    with policy.decoding(merge=True):
        assert all(dict(policy.model.named_modules())[name] is part for name, part in policy.adapters.items())


# Trunk and head


@pytest.mark.parametrize("kind", ["llama", "untied", "qwen2", "qwen3", "window", "gemma3"])
def test_projecting_the_trunks_output_gives_the_logits(tiny, kind):
    policy = tiny.policy(kind)
    assert policy.head is not None
    logits = policy.project({}, policy.trunk(TOKENS))
    np.testing.assert_allclose(np.array(logits), np.array(policy.model(TOKENS)), rtol=1e-5, atol=1e-5)


def test_projecting_with_other_parameters_leaves_the_model_as_it_was(tiny):
    policy = tiny.policy("untied")
    hidden, before = policy.trunk(TOKENS), policy.head_parameters()["weight"]
    doubled = policy.project({"weight": 2 * before}, hidden)
    np.testing.assert_allclose(np.array(doubled), 2 * np.array(policy.project({}, hidden)), rtol=1e-5, atol=1e-5)
    assert mx.array_equal(policy.head_parameters()["weight"], before).item()


def test_nothing_of_the_head_is_trained_with_adapters(tiny):
    assert tiny.policy(fine_tune="lora").head_parameters() == {}


def test_moving_a_directory_moves_the_model(tiny, tmp_path):
    """A model is its directory: no path of the machine it was made on is in it."""
    tiny.directory(tmp_path / "one")
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert load_policy(lora_config(), str(tmp_path / "two")).shares_prefixes


@pytest.mark.skipif(plain(), reason="GRPO_PLAIN turns off what is tested here")
@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="MLX computes on a GPU here")
@pytest.mark.parametrize("few_rows", [True, False])
def test_frozen_matrices_stand_turned_for_a_blas_and_trained_ones_as_they_were(tiny, tmp_path, monkeypatch, few_rows):
    monkeypatch.setattr(grpo.model.loading, "load_blas", lambda: Blas("any", None, few_rows=few_rows))
    folder = str(tiny.directory(tmp_path))
    frozen, trained = load_policy(lora_config(), folder), load_policy(Config(fine_tune="full"), folder)

    def turned(policy):
        weights = {
            "wide": policy.model.model.layers[0].mlp.down_proj,  # [32, 64]: fewer rows than columns
            "high": policy.model.model.layers[0].mlp.up_proj,  # [64, 32]
            "embedding": policy.model.model.embed_tokens,  # [61, 32]
        }
        strides = {name: memoryview(getattr(part, "linear", part).weight).strides for name, part in weights.items()}
        return {name for name, (row, column) in strides.items() if row < column}

    assert turned(frozen) == (set() if few_rows else {"high", "embedding"}) and turned(trained) == set()
    assert mx.allclose(frozen.model(TOKENS), trained.model(TOKENS), rtol=1e-5, atol=1e-5).item()


def test_a_model_without_a_tokenizer_is_told_so(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="can't be loaded: there is no tokenizer in it"):
        load_policy(Config(model=str(tmp_path)), str(tmp_path))


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_reference_moves_to_the_policy(tiny, share):
    policy = tiny.policy(fine_tune="lora")
    policy.freeze_reference()
    assert policy.reference_parameters is None and not policy.reference_moved
    tiny.disturb(policy.model, 0.1)
    policy.move_reference(share)
    for name, leaf in policy.trainable().items():
        old = mx.zeros_like(leaf) if name.endswith("lora_b") else leaf  # the bare network: B = 0
        expected = share * leaf + (1 - share) * old
        np.testing.assert_allclose(np.array(policy.reference_parameters[name]), np.array(expected), rtol=1e-6)
    assert policy.reference_moved


def test_only_the_last_blocks_of_full_fine_tuning_are_trained(tiny, tmp_path):
    tiny.directory(tmp_path / "model")
    policy = load_policy(Config(fine_tune="full", full_layers=1), str(tmp_path / "model"))
    assert policy.trainable() and all(name.startswith("model.layers.1.") for name in policy.trainable())
    with pytest.raises(ConfigError, match="full_layers must be -1 or 1 to 2"):
        load_policy(Config(fine_tune="full", full_layers=3), str(tmp_path / "model"))


def test_a_rank_stabilised_adapter_is_scaled_by_the_root_of_its_rank(tiny, tmp_path):
    tiny.directory(tmp_path / "model")
    config = Config(lora={"rank": 4, "alpha": 8, "rank_stabilised": True})
    assert load_policy(config, str(tmp_path / "model")).adapter_settings["lora_parameters"]["scale"] == 4.0


def test_the_reference_of_dora_is_its_start(tiny, tmp_path):
    tiny.directory(tmp_path / "model")
    policy = load_policy(Config(fine_tune="dora", lora={"rank": 4}), str(tmp_path / "model"))
    tokens = mx.array([[11, 12, 13]])
    start = policy.model(tokens)
    policy.freeze_reference()
    tiny.disturb(policy.model, 0.1)
    with policy.as_reference():
        assert mx.allclose(policy.model(tokens), start, atol=1e-5).item()
    assert not mx.allclose(policy.model(tokens), start, atol=1e-3).item()
