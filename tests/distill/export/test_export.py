"""Exported directories against the adapter they come from, in mlx_lm's own hands."""

import base64
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import load

from distill.export import run as module
from distill.export.__main__ import main
from tests.distill.damage import SETTINGS, TOKENIZER, WEIGHTS, damage
from tests.distill.small_models import TINY, model_directory

TOKENS = mx.array([[30, 41, 52, 33, 44]])


@pytest.fixture
def trained(tmp_path):
    """A base and an adapter with something in it, in a directory that looks like a run's."""
    model = model_directory(tmp_path / "base")
    policy = TINY.policy("llama", fine_tune="lora", adapter_noise=0.3)
    run = tmp_path / "run"
    run.mkdir()
    policy.save_adapter(run)
    (run / "config.yaml").write_text(f"model: {model}\ndata: corpus.jsonl\nlearning_rate: 0.0001\n")
    (run / "summary.json").write_text(
        json.dumps({"before": {"accuracy": 0.25}, "after": {"accuracy": 0.5}, "steps": 7, "seed": 3})
    )
    return model, run


def logprobs(path, adapter=None):
    logits = load(str(path), adapter_path=None if adapter is None else str(adapter))[0](TOKENS)
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))


def export(trained, output, *flags):
    model, run = trained
    return main(["--model", str(model), "--adapter", str(run), "--output", str(output), *flags])


def test_the_fused_model_gives_the_adapters_logprobs_in_mlx_lm(trained, tmp_path, capsys):
    assert export(trained, tmp_path / "fused") == 0
    record = json.loads(capsys.readouterr().out)
    expected = logprobs(*trained)
    assert np.abs(logprobs(tmp_path / "fused") - expected).max() < 1e-4
    assert record["reload_difference"] < 1e-4 and record["adapter_difference"] < 1e-4
    assert np.abs(logprobs(trained[0]) - expected).max() > 0.1  # the adapter does something


def test_mlx_lm_fuse_makes_the_same_model_of_our_adapter(trained, tmp_path):
    model, run = trained
    command = [sys.executable, "-m", "mlx_lm", "fuse", "--model", str(model), "--adapter-path", str(run)]
    subprocess.run([*command, "--save-path", str(tmp_path / "theirs")], check=True, capture_output=True)
    assert export(trained, tmp_path / "ours") == 0
    assert np.abs(logprobs(tmp_path / "theirs") - logprobs(tmp_path / "ours")).max() < 1e-4


def test_a_quantised_export_says_how_far_it_is(trained, tmp_path, capsys):
    assert export(trained, tmp_path / "q", "--bits", "4", "--group-size", "32") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["reload_difference"] < 1e-4 < record["adapter_difference"]
    settings = json.loads((tmp_path / "q" / "config.json").read_text())
    assert settings["quantization"]["bits"] == 4 and settings["quantization"]["group_size"] == 32


def test_a_quantised_base_is_dequantised_with_its_adapter(trained, tmp_path, capsys):
    model, run = trained
    assert main(["--model", str(model), "--output", str(tmp_path / "q4"), "--bits", "8", "--group-size", "32"]) == 0
    whole = (tmp_path / "q4", run)
    assert export(whole, tmp_path / "whole") == 0
    assert "quantization" not in json.loads((tmp_path / "whole" / "config.json").read_text())
    assert np.abs(logprobs(tmp_path / "whole") - logprobs(*whole)).max() < 1e-4
    assert export(whole, tmp_path / "again", "--no-dequantise", "--bits", "4") == 2
    assert "add --dequantise" in capsys.readouterr().err


def test_an_export_that_would_lose_what_was_learned_is_refused(trained, tmp_path, capsys):
    model, run = trained
    weak = mx.load(str(run / "adapters.safetensors"))
    weak = {name: leaf * (1e-2 if name.endswith("lora_b") else 1) for name, leaf in weak.items()}
    mx.save_safetensors(str(run / "adapters.safetensors"), weak)
    assert export((model, run), tmp_path / "q", "--bits", "4", "--group-size", "32") == 1
    said = capsys.readouterr().err
    assert "would lose what the adapter learned" in said and "more than 4 bits" in said
    assert not (tmp_path / "q").exists()
    assert export((model, run), tmp_path / "whole") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["adapter_difference"] < record["adapter_effect"]


def test_an_adapter_goes_to_peft_and_comes_back(trained, tmp_path, capsys):
    assert export(trained, tmp_path / "peft", "--peft") == 0
    assert json.loads(capsys.readouterr().out)["tensors"] == len(mx.load(str(trained[1] / "adapters.safetensors")))
    assert sorted(path.name for path in (tmp_path / "peft").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert export((trained[0], tmp_path / "peft"), tmp_path / "fused") == 0
    assert np.abs(logprobs(tmp_path / "fused") - logprobs(*trained)).max() < 1e-4


def test_peft_and_a_whole_model_at_once_are_refused(trained, tmp_path, capsys):
    assert export(trained, tmp_path / "peft", "--peft", "--bits", "4") == 2
    assert "peft writes the adapter alone" in capsys.readouterr().err


def test_the_card_holds_data_recipe_and_results_and_no_local_path(trained, tmp_path):
    assert export(trained, tmp_path / "fused") == 0
    card = (tmp_path / "fused" / "README.md").read_text()
    for text in ("library_name: mlx", "- data: corpus.jsonl", "learning_rate: 0.0001", "| accuracy | 0.25 | 0.5 |"):
        assert text in card
    assert "steps: 7, seed: 3" in card and str(tmp_path) not in card


def test_a_model_that_loads_as_another_is_not_exported(trained, tmp_path, monkeypatch, capsys):
    reload = module._reloaded
    monkeypatch.setattr(module, "_reloaded", lambda *given: [part + 0.01 for part in reload(*given)])
    assert export(trained, tmp_path / "bad") == 2
    assert "other logprobs" in capsys.readouterr().err
    assert not any(path.name.endswith("bad") for path in tmp_path.iterdir())


def test_gguf_holds_the_weights_and_is_refused_where_it_would_be_wrong(trained, tmp_path, capsys):
    assert export(trained, tmp_path / "g", "--gguf") == 0
    written = mx.load(str(tmp_path / "g" / "model.gguf"))
    fused = mx.load(str(tmp_path / "g" / "model.safetensors"))
    assert (written["blk.0.ffn_down.weight"] == fused["model.layers.0.mlp.down_proj.weight"]).all().item()
    other = model_directory(tmp_path / "gemma", "gemma2")
    assert main(["--model", str(other), "--output", str(tmp_path / "no"), "--gguf"]) == 2
    assert "type gemma2" in capsys.readouterr().err
    other = model_directory(tmp_path / "qwen", "qwen3")
    assert main(["--model", str(other), "--output", str(tmp_path / "no"), "--gguf"]) == 2
    assert "byte-level BPE vocabulary only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--bits", "7"], "bits must be 2, 3, 4, 5, 6 or 8"),
        (["--bits", "4", "--gguf"], "full-precision weights"),
        (["--push", "nobody"], "owner/name"),
        (["--model", "/nowhere"], "can't be loaded"),
    ],
)
def test_what_can_not_be_is_one_line_and_code_2(trained, tmp_path, capsys, flags, reason):
    assert export(trained, tmp_path / "x", *flags) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1 and not (tmp_path / "x").exists()


@pytest.mark.parametrize(("name", "how"), [*WEIGHTS, *SETTINGS, *TOKENIZER])
def test_a_damaged_model_is_one_line_and_leaves_nothing(tmp_path, capsys, name, how):
    model = model_directory(tmp_path / "model")
    damage(model, name, how)
    assert main(["--model", str(model), "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_is_there_is_not_overwritten(trained, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    assert export(trained, tmp_path / "full") == 2
    assert "not empty" in capsys.readouterr().err and (tmp_path / "full" / "mine").exists()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload asks for; `files` is what a commit brought."""

    files: ClassVar[dict] = {}
    refuses = False

    def log_message(self, *_):
        pass

    def answer(self, body, code=200):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer({"id": "me/model", "sha": "0" * 40, "siblings": []})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if Hub.refuses:
            self.answer({"error": "no such token"}, 401)
        elif self.path.endswith("/repos/create"):
            self.answer({"url": f"http://{self.headers['Host']}/me/model", "id": "me/model"})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            shown = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
            self.answer({"files": shown})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                row = json.loads(line)
                if row["key"] == "file":
                    Hub.files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            address = f"http://{self.headers['Host']}/me/model/commit/1"
            self.answer({"commitUrl": address, "commitOid": "1" * 40, "success": True})
        else:
            self.answer({"errors": [], "warnings": []})


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: "hf_stand_in", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True, raising=False)
    Hub.files, Hub.refuses = {}, False
    yield Hub
    server.shutdown()


def test_a_push_brings_every_file_to_the_hub(trained, tmp_path, hub, capsys):
    assert export(trained, tmp_path / "fused", "--push", "me/model") == 0
    assert json.loads(capsys.readouterr().out)["pushed"].endswith("/me/model/commit/1")
    written = {path.name: path.read_bytes() for path in (tmp_path / "fused").iterdir()}
    assert hub.files == written


def test_a_refused_push_keeps_the_directory_and_says_why(trained, tmp_path, hub, capsys):
    hub.refuses = True
    assert export(trained, tmp_path / "fused", "--push", "me/model") == 2
    error = capsys.readouterr().err
    assert "is written, but pushing it to me/model failed" in error and error.count("\n") == 1
    assert (tmp_path / "fused" / "model.safetensors").exists()


def front(path):
    import yaml

    return yaml.safe_load((path / "README.md").read_text().split("---\n")[1])


def test_the_card_names_base_licences_and_limits(trained, tmp_path):
    model, run = trained
    (model / "README.md").write_text("---\nlicense: apache-2.0\nbase_model: owner/base\n---\n# Base\n")
    (run / "config.yaml").write_text("data: corpus.jsonl\nnum_generations: 8\nreward_weights: {accuracy: 1.0}\n"
                                     "max_completion_length: 64\n")  # fmt: skip
    summary = {"before": {"accuracy": 0.25, "tasks": 50}, "after": {"accuracy": 0.5, "tasks": 50}, "steps": 7}
    (run / "summary.json").write_text(json.dumps(summary | {"licences": {"MIT": 12}}))
    assert export(trained, tmp_path / "fused", "--licence", "mit") == 0
    known = front(tmp_path / "fused")
    assert (known["base_model"], known["base_model_relation"], known["license"]) == ("owner/base", "finetune", "mit")
    card = (tmp_path / "fused" / "README.md").read_text()
    for text in ("- this model: mit", "- base model: apache-2.0", "- data: MIT (12 rows)", "50 tasks", "at most 64",
                 "trained towards accuracy", "reinforcement learning"):  # fmt: skip
        assert text in card, text


def test_the_card_of_an_adapter_without_a_run_does_not_guess_how_it_was_trained(trained, tmp_path):
    model, run = trained
    (tmp_path / "bare").mkdir()
    for name in ("adapters.safetensors", "adapter_config.json"):
        (tmp_path / "bare" / name).write_bytes((run / name).read_bytes())
    assert export((model, tmp_path / "bare"), tmp_path / "fused") == 0
    card = (tmp_path / "fused" / "README.md").read_text()
    assert "how it was trained was not written down" in card and "fine-tuning" not in card


def test_the_card_shows_no_figure_that_is_none_and_says_what_was_not_measured(trained, tmp_path):
    _, run = trained
    point = {"step": 0, "loss": None, "validation_loss": 2.5}
    (run / "summary.json").write_text(json.dumps({"before": point, "after": {**point, "step": 9, "loss": 1.5}}))
    export(trained, tmp_path / "one")
    card = (tmp_path / "one" / "README.md").read_text()
    assert "| validation_loss | 2.5 | 2.5 |" in card and "None" not in card and "| step |" not in card
    (run / "summary.json").write_text("{}")
    export(trained, tmp_path / "two")
    card = (tmp_path / "two" / "README.md").read_text()
    assert "Nothing was held out" in card and "license" not in front(tmp_path / "two")
    assert "Those of the base model and of the data hold" in card
