"""A model directory brings weights and sizes, and nothing that runs, blocks or fills the memory."""

import json
import os
import subprocess
import sys

import pytest

from grpo.config.layers import build
from grpo.config.sections import ConfigError, ModelSettings
from grpo.model.facts import facts_of_directory
from grpo.model.files import check_files
from grpo.model.loading import load_policy


@pytest.fixture
def folder(tmp_path, miniature_model):
    for path in miniature_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change(path, **settings):
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def load(folder):
    return load_policy(build(ModelSettings, {"model": str(folder)}), str(folder))


def test_a_plain_model_is_loaded(folder):
    check_files(folder)
    assert load(folder).model is not None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_file": "evil.py"}, "code in evil.py: code of a model's repository is never run"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers 1000000000, more than 10000"),
        ({"text_config": {"num_local_experts": 10**12}}, "num_local_experts 1000000000000"),
        ({"o_groups": 10**9}, "o_groups 1000000000"),
        ({"hybrid_override_pattern": "M" * 20_000}, "hybrid_override_pattern of length 20000"),
        ({"text_config": {"layer_types": ["full_attention"] * 20_000}}, "layer_types of length 20000"),
    ],
)
def test_code_and_sizes_are_refused(folder, settings, said):
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    change(folder / "config.json", **settings)
    with pytest.raises(ConfigError, match="can't be loaded") as caught:
        load(folder)
    assert said in str(caught.value)
    with pytest.raises(ValueError, match=said.split(",")[0]):
        facts_of_directory(folder)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "vocab.bpe", "additional_chat_templates/a.jinja"]
)
def test_a_pipe_in_the_place_of_a_file_is_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ConfigError, match=f"{(folder / name).name} in it is no regular file"):
        load(folder)


def test_a_config_that_is_no_object_or_too_deep_is_one_line(folder):
    for text in ("[1]", "[" * 100_000 + "]" * 100_000):
        (folder / "config.json").write_text(text)
        with pytest.raises(ConfigError, match=r"must hold an object|nested too deeply"):
            load(folder)


def test_a_tokenizer_with_code_is_refused_without_a_question(folder):
    (folder / "evil.py").write_text("raise SystemExit('it ran')\nclass Evil: pass\n")
    change(folder / "config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}, model_type="own_kind")
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil")
    code = "import sys\nfrom tests.grpo.model.test_files import load\nload(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], input="y\ny\n", capture_output=True, text=True, timeout=120
    )
    assert "it ran" not in done.stdout + done.stderr
    assert "[y/N]" not in done.stdout + done.stderr


def test_settings_that_no_layer_can_use_are_one_line(folder):
    change(folder / "config.json", rope_theta="x")
    with pytest.raises(ConfigError, match="can't be loaded") as caught:
        load(folder)
    assert "\n" not in str(caught.value)
