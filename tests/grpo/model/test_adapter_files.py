"""Adapters of mlx_lm and of PEFT are read, written and refused."""

import json
import os
import subprocess

import mlx.core as mx
import numpy as np
import pytest

from grpo.config.sections import ConfigError
from grpo.model import adapter_files
from grpo.model.adapter_files import PEFT_FILE, attach, read, write_peft
from grpo.model.policy import ADAPTER_CONFIG, ADAPTER_FILE

PEFT_PYTHON = os.environ.get("GRPO_PEFT_PYTHON", "")
TOKENS = mx.array([[30, 41, 52, 33, 44]])


@pytest.fixture
def saved(tiny, tmp_path):
    """A directory of an adapter with something in it, and the logits of its model."""

    def save(kind="llama", fine_tune="lora", **rest):
        policy = tiny.policy(kind, fine_tune=fine_tune, adapter_noise=0.3, **rest)
        folder = tmp_path / f"{kind}_{fine_tune}"
        folder.mkdir()
        policy.save_adapter(folder)
        return folder, np.array(policy.model(TOKENS))

    return save


def peft_of(saved_folder, target, layers=2, **changes):
    target.mkdir()
    write_peft(read(saved_folder, layers=layers), target, "base")
    config = json.loads((target / ADAPTER_CONFIG).read_text())
    (target / ADAPTER_CONFIG).write_text(json.dumps(config | changes))
    return target


def logits_with(tiny, folder, kind="llama"):
    model = tiny.model(kind)
    attach(model, folder)
    return np.array(model(TOKENS))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma3"])
def test_an_adapter_written_for_peft_and_read_again_gives_the_same_logits(tiny, saved, tmp_path, kind):
    folder, meant = saved(kind)
    layers = len(tiny.model(kind).layers)
    peft = peft_of(folder, tmp_path / "peft", layers)
    assert np.abs(logits_with(tiny, folder, kind) - meant).max() < 1e-5
    assert np.abs(logits_with(tiny, peft, kind) - meant).max() < 1e-5


def test_peft_keeps_the_axes_the_other_way_round_and_names_modules_in_full(saved, tmp_path):
    folder, _ = saved()
    peft = peft_of(folder, tmp_path / "peft")
    weights = mx.load(str(peft / PEFT_FILE))
    a = weights["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"]
    b = weights["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"]
    assert a.shape == (4, 32) and b.shape == (32, 4)
    config = json.loads((peft / ADAPTER_CONFIG).read_text())
    assert config["lora_alpha"] / config["r"] == 2.0


def test_rank_stabilised_scale_is_alpha_by_the_root_of_the_rank(saved, tmp_path):
    folder, _ = saved()
    peft = peft_of(folder, tmp_path / "peft", use_rslora=True, lora_alpha=6.0)
    assert read(peft, layers=2).parameters["scale"] == 3.0


def test_an_adapter_on_the_last_blocks_is_known_as_such(tiny, saved, tmp_path):
    folder, meant = saved(blocks=1)
    peft = peft_of(folder, tmp_path / "peft")
    assert read(peft, layers=2).num_layers == 1
    assert np.abs(logits_with(tiny, peft) - meant).max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "IA3"}, "type IA3: only LORA"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(saved, tmp_path, changes, reason):
    peft = peft_of(saved()[0], tmp_path / "peft", **changes)
    with pytest.raises(ConfigError, match=reason):
        read(peft, layers=2)


def test_blocks_that_are_not_the_last_are_refused(saved, tmp_path):
    peft = peft_of(saved()[0], tmp_path / "peft")
    weights = mx.load(str(peft / PEFT_FILE))
    mx.save_safetensors(str(peft / PEFT_FILE), {name: leaf for name, leaf in weights.items() if ".layers.0." in name})
    with pytest.raises(ConfigError, match=r"on blocks \[0\] of 2"):
        read(peft, layers=2)


def test_a_missing_tensor_one_too_many_and_another_shape_are_refused(tiny, saved):
    folder, _ = saved()
    whole = mx.load(str(folder / ADAPTER_FILE))
    name = "model.layers.1.self_attn.q_proj.lora_a"
    for weights, reason in [
        ({key: leaf for key, leaf in whole.items() if key != name}, f"it lacks {name}"),
        (whole | {"model.layers.7.self_attn.q_proj.lora_a": whole[name]}, "no layer of the model takes model.layers.7"),
        (whole | {name: mx.zeros((8, 4))}, rf"{name} is \(8, 4\), the model's is \(32, 4\)"),
    ]:
        mx.save_safetensors(str(folder / ADAPTER_FILE), weights)
        with pytest.raises(ConfigError, match=reason):
            attach(tiny.model(), folder)


def test_a_directory_without_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"neither adapters\.safetensors nor PEFT's"):
        adapter_files.files_of(tmp_path)
    with pytest.raises(ConfigError, match=r"can't be read"):
        read(tmp_path, layers=2)


THEIRS = """
import sys, torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from safetensors.torch import load_file
base, ours, theirs, dora = sys.argv[1:5]
model = LlamaForCausalLM.from_pretrained(base, torch_dtype=torch.float32)
tokens = torch.tensor([[30, 41, 52, 33, 44]])
import numpy
with torch.no_grad():
    numpy.save(ours + "/logits.npy", PeftModel.from_pretrained(model, ours)(tokens).logits.numpy())
model = LlamaForCausalLM.from_pretrained(base, torch_dtype=torch.float32)
torch.manual_seed(0)
made = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, use_rslora=True, use_dora=dora == "dora",
    target_modules=["q_proj", "down_proj"], init_lora_weights=False))
with torch.no_grad():
    numpy.save(theirs + "_logits.npy", made(tokens).logits.numpy())
made.save_pretrained(theirs)
"""


@pytest.mark.skipif(not PEFT_PYTHON, reason="GRPO_PEFT_PYTHON names no Python with peft, transformers and torch")
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_peft_itself_reads_ours_and_its_own_is_read_here(tiny, saved, tmp_path, kind):
    base = tiny.directory(tmp_path / "base")
    config = json.loads((base / "config.json").read_text()) | {"architectures": ["LlamaForCausalLM"]}
    (base / "config.json").write_text(json.dumps(config))
    peft = peft_of(saved()[0], tmp_path / "peft")
    theirs = tmp_path / "theirs"
    arguments = [str(base), str(peft), str(theirs), kind]
    subprocess.run([PEFT_PYTHON, "-c", THEIRS, *arguments], check=True, capture_output=True, timeout=600)
    assert np.abs(logits_with(tiny, peft) - np.load(peft / "logits.npy")).max() < 1e-4
    assert np.abs(logits_with(tiny, theirs) - np.load(f"{theirs}_logits.npy")).max() < 1e-4
