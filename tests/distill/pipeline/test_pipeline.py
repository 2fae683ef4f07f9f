"""A whole pipeline on a model of two small layers: what is cached, what is run again, what a kill costs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mlx_lm.utils import load_model

from distill.pipeline import __main__ as pipeline
from distill.pipeline import stages as stages_module
from distill.pipeline.cache import DONE, REPLACED
from grpo.config.sections import ColdStart
from grpo.model import miniature

ROOT = Path(__file__).parents[3]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}


def recipe(model):
    """zero -> rejection -> sft from the base, and the same student by RL."""
    rl = {"fine_tune": "full", "template": "plain", "prompts_per_step": 2, "num_generations": 4, "save_every": 1,
          "max_completion_length": 30, "learning_rate": 1e-3, "reward_weights": {"format_similarity": 1.0}}  # fmt: skip
    sft = {"fine_tune": "full", "template": "plain", "validation_share": 0.0, "eval_every": 0, "save_every": 1}
    rejection = {"template": "plain", "max_completion_length": 30, "max_prompts": 24, "samples": 2, "chunk_prompts": 8,
                 "require": {}, "max_copied": 1.0, "near_duplicates": None}  # fmt: skip
    comparison = {"start": "base", "distilled": "distill", "trained": "student_rl", "corpus": "rejection",
                  "controls": ["student_rl_all"]}  # fmt: skip
    return {
        "seed": 3,
        "held_out": {"template": "plain", "tasks": 12, "max_completion_length": 30},
        "defaults": {"rl": rl, "sft": sft, "student": sft, "rejection": rejection},
        "stages": {
            "base": {"kind": "model", "start": str(model)},
            "zero": {"kind": "rl", "start": "base", "config": {"steps": 3}},
            "general": {"kind": "miniature_rows", "config": {"rows": "general", "count": 10}},
            "rejection": {"kind": "rejection", "start": "zero", "take": {"mix": "general"}},
            "sft": {"kind": "sft", "start": "base", "take": {"data": "rejection"}, "config": {"epochs": 2}},
            "distill": {"kind": "student", "start": "base", "take": {"data": "rejection"}},
            "student_rl": {"kind": "rl", "start": "base", "equal_tokens": "rejection"},
            "student_rl_all": {
                "kind": "rl",
                "start": "base",
                "equal_tokens": ["zero", "rejection"],
                "control": True,
                "goals": {"accuracy": "rise"},
            },
            "evaluate": {"kind": "evaluate", "config": {"comparison": comparison}},
        },
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The recipe's file, on a model that can end a chain of thought."""
    folder = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miniature, "SHAPE", {**miniature.SHAPE, **SMALL})
        miniature.build(folder / "tiny", ColdStart(steps=60, batch=16, broken=0.0, mixed=0.0), seed=0)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(folder / "tiny"), sort_keys=False))
    return path


@pytest.fixture(scope="module")
def done(config):
    """A finished pipeline's directory."""
    output = config.parent / "done"
    assert pipeline.main(["--config", str(config), "--output", str(output)]) == 0
    return output


def run(config, output, *more):
    return pipeline.main(["--config", str(config), "--output", str(output), *more])


@pytest.fixture
def ran(monkeypatch):
    """The kinds of stages that are really run, in order."""
    seen = []

    def watched(name, work):
        def call(settings, folder):
            seen.append(folder.name)
            return work(settings, folder)

        return call

    kinds = {name: watched(name, work) for name, work in stages_module.KINDS.items()}
    monkeypatch.setattr("distill.pipeline.run.KINDS", kinds)
    return seen


def copied(done, tmp_path):
    import shutil

    return Path(shutil.copytree(done, tmp_path / "copy"))


def test_the_table_has_every_stage_with_its_figures_and_intervals(done):
    assert '<th scope="col">zero ' in (done / "report.html").read_text()
    text = (done / "stages.md").read_text()
    for name in ("base", "zero", "sft", "distill", "student_rl"):
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert len(re.findall(r"[\d.]+ \[[\d.]+, [\d.]+\]", row)) == 4, row  # accuracy, format, language, length
    assert "| rejection | rejection | zero | corpus: " in text
    assert "| distill - student_rl |" in text


def test_a_second_run_does_nothing_and_gives_the_same_table(config, done, ran):
    before = (done / "stages.md").read_bytes()
    assert run(config, done) == 0
    assert ran == []
    assert (done / "stages.md").read_bytes() == before


def test_the_table_says_the_tokens_that_were_sampled(done):
    figures = json.loads((done / "stages.json").read_text())
    rows = [json.loads(line) for path in (done / "rejection" / "samples").rglob("*.jsonl") for line in path.open()]
    sampled = sum(sample["tokens"] for row in rows for sample in row["samples"])
    assert figures["rejection"]["sampled_tokens"] == sampled
    assert f"{sampled:,} (by its teacher)" in (done / "stages.md").read_text()


def test_rl_on_the_student_samples_about_the_tokens_of_the_corpus(done):
    figures = json.loads((done / "stages.json").read_text())
    batch, length = 8, figures["base"]["length"]["mean"]
    assert figures["student_rl"]["steps"] == -(-figures["rejection"]["sampled_tokens"] // (batch * length))


def test_other_settings_run_that_stage_and_what_stands_on_it(config, done, ran, tmp_path):
    output = copied(done, tmp_path)
    assert run(config, output, "stages.rejection.config.keep_per_prompt=2", "stages.rejection.config.samples=3") == 0
    assert ran == ["rejection", "sft", "distill", "student_rl"]
    assert (output / REPLACED / "rejection" / "corpus.jsonl").exists()


def test_controls_are_run_beside_what_is_done_and_count_the_tokens_of_all_their_stages(config, done, ran, tmp_path):
    output = copied(done, tmp_path)
    assert run(config, output, "controls=true") == 0
    assert ran == ["student_rl_all"]
    figures = json.loads((output / "stages.json").read_text())
    tokens = figures["zero"]["sampled_tokens"] + figures["rejection"]["sampled_tokens"]
    assert figures["student_rl_all"]["steps"] == -(-tokens // (8 * figures["base"]["length"]["mean"]))
    text = (output / "stages.md").read_text()
    assert "| student_rl_all (control) |" in text and "| distill - student_rl_all |" in text
    assert "student_rl_all" not in (done / "stages.md").read_text()


def test_how_often_is_saved_is_no_input(config, done, ran, tmp_path):
    assert run(config, copied(done, tmp_path), "stages.zero.config.save_every=2") == 0
    assert ran == []


def test_a_changed_product_is_made_again(config, done, ran):
    corpus = done / "rejection" / "corpus.jsonl"
    whole = corpus.read_bytes()
    corpus.write_bytes(whole[: len(whole) // 2])
    assert run(config, done) == 0
    assert ran == ["rejection"]  # the same bytes again: nothing after it has changed
    assert corpus.read_bytes() == whole


def test_one_stage_can_be_run_again_alone(config, done, ran, tmp_path):
    output = copied(done, tmp_path)
    before = json.loads((output / "sft" / DONE).read_text())["product"]
    assert run(config, output, "--stage", "sft") == 0
    assert ran == ["sft"]
    assert json.loads((output / "sft" / DONE).read_text())["product"] == before


def test_with_lora_a_stage_goes_on_with_the_adapter_of_the_one_before(config, tmp_path):
    small = recipe(config.parent / "tiny")
    rl = {**small["defaults"]["rl"], "fine_tune": "lora", "lora": {"rank": 4}, "steps": 1}
    sft = {**small["defaults"]["sft"], "fine_tune": "lora"}
    stages = {
        "base": small["stages"]["base"],
        "zero": {"kind": "rl", "start": "base"},
        "more": {"kind": "rl", "start": "zero"},
        "rows": {
            "kind": "rows",
            "config": {"data": "digit_sums", "count": 9, "completion": "<answer> {answer} </answer>"},
        },
        "sft": {"kind": "sft", "start": "more", "take": {"data": "rows"}},
        "evaluate": {"kind": "evaluate"},
    }
    path = tmp_path / "lora.yaml"
    path.write_text(yaml.safe_dump({**small, "defaults": {"rl": rl, "sft": sft}, "stages": stages}, sort_keys=False))
    output = tmp_path / "out"
    assert run(path, output) == 0
    first = (output / "zero" / "adapters.safetensors").read_bytes()
    assert (output / "more" / "start_adapter" / "adapters.safetensors").read_bytes() == first
    assert (output / "sft" / "adapters.safetensors").exists()
    assert not list(output.rglob("model.safetensors"))  # nothing is fused: a stage costs an adapter


def test_blocks_are_chosen_by_the_loss_on_the_rows_of_another_stage(config, tmp_path):
    base = yaml.safe_load(config.read_text())
    stages = {name: base["stages"][name] for name in ("base", "general")}
    stages["small"] = {"kind": "prune", "start": "base", "take": {"data": "general"}}
    stages["small"]["config"] = {"keep": 1, "template": "plain"}
    stages["evaluate"] = {"kind": "evaluate"}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**base, "stages": stages}, sort_keys=False))
    assert run(path, tmp_path / "out", "--dry-run") == 0
    assert run(path, tmp_path / "out") == 0
    whole, dropped = json.loads((tmp_path / "out" / "small" / "dropped.json").read_text())["steps"]
    assert whole["loss"] < dropped["loss"]
    done = json.loads((tmp_path / "out" / "small" / DONE).read_text())
    assert done["figures"]["blocks"] == [1 - dropped["block"]]
    assert len(load_model(tmp_path / "out" / "small" / "model")[0].layers) == 1


def test_a_refusal_names_its_stage(config, tmp_path, capsys):
    assert (
        run(config, tmp_path / "out", "stages.rejection.config.require={accuracy: 2.0}", "stages.zero.config.steps=1")
        == 2
    )
    assert "error: stage rejection: nothing was kept of 48 completions" in capsys.readouterr().err


def test_a_stage_alone_needs_those_before_it(config, tmp_path, capsys):
    assert run(config, tmp_path / "new", "--stage", "sft") == 2
    assert "stage sft needs base, which is not done" in capsys.readouterr().err


def test_a_directory_of_something_else_is_left_alone(config, tmp_path, capsys):
    (tmp_path / "out" / "zero").mkdir(parents=True)
    (tmp_path / "out" / "zero" / "thesis.txt").write_text("years of work")
    assert run(config, tmp_path / "out") == 2
    assert "holds something that is no stage" in capsys.readouterr().err
    assert (tmp_path / "out" / "zero" / "thesis.txt").exists()


@pytest.mark.parametrize(
    "sign", ["zero/checkpoints/step_000001", "rejection/samples/1_of_1/samples.jsonl", "sft/model"]
)
def test_killed_and_started_again_it_ends_with_the_same_table(config, done, tmp_path, sign):
    output = tmp_path / "killed"
    arguments = [sys.executable, "-m", "distill.pipeline", "--config", str(config), "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (output / sign).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (output / "stages.md").exists()
    assert run(config, output) == 0
    assert (output / "stages.md").read_bytes() == (done / "stages.md").read_bytes()
