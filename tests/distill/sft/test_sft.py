"""Whole runs of the command on a tiny model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from distill.sft.__main__ import main
from distill.sft.config import SFTConfig
from grpo.config.loading import load as load_config
from grpo.runs.interrupt import Interrupted
from tests.distill.small_models import corpus, model_directory

ROOT = Path(__file__).parents[3]
SMALL = ["examples_per_step=4", "token_budget=40", "learning_rate=0.01", "eval_every=3", "save_every=2"]


@pytest.fixture
def train(tmp_path, capsys):
    model = model_directory(tmp_path / "model")
    data = corpus(tmp_path / "corpus.jsonl")

    def run(name, *overrides, resume=False):
        folder = tmp_path / name
        arguments = ["--output", str(folder), f"model={model}", f"data={data}", *SMALL, *overrides]
        code = main([*arguments, *(["--resume"] if resume else [])])
        return folder, code, capsys.readouterr()

    return run


def weights(folder):
    return {name: np.array(leaf) for name, leaf in mx.load(str(folder / "adapters.safetensors")).items()}


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_learns_and_leaves_what_mlx_lm_loads(train, tmp_path):
    from mlx_lm import load

    folder, code, shown = train("run", "total_steps=12")
    summary = json.loads((folder / "summary.json").read_text())
    assert code == 0
    assert summary["best"]["validation_loss"] < 0.9 * summary["before"]["validation_loss"]
    assert "| 12 |" in (folder / "learning_curve.md").read_text() and "(best)" in shown.out
    line = metrics(folder)[0]
    assert line["padding_share"] == 0 and line["tokens_per_second"] > 0 and line["memory/peak_bytes"] > 0
    adapted = load(str(tmp_path / "model"), adapter_path=str(folder))[0]
    assert any(leaf.any() for name, leaf in weights(folder).items() if name.endswith("lora_b"))
    assert adapted(mx.array([[9, 10]])).shape == (1, 2, 61)


def test_a_run_in_which_nothing_got_better_says_so(train):
    start, *_ = train("run", "total_steps=12")
    folder, code, shown = train("worse", "total_steps=1", "learning_rate=100", "eval_every=1", f"adapter={start}")
    summary = json.loads((folder / "summary.json").read_text())
    assert code == 0 and summary["best"]["step"] == 0
    assert shown.out.count("warning: no step lowered the validation loss") == 1
    assert all((leaf == weights(start)[name]).all() for name, leaf in weights(folder).items())


@pytest.mark.parametrize("kind", ["dora", "full"])
def test_other_ways_to_train_load_in_mlx_lm_with_the_same_numbers(train, tmp_path, kind):
    from mlx_lm import load

    folder, code, _ = train("run", "total_steps=3", f"fine_tune={kind}")
    best = json.loads((folder / "summary.json").read_text())["best"]
    loaded = load(str(tmp_path / "model"), adapter_path=str(folder))[0]
    plain = load(str(tmp_path / "model"))[0]
    tokens = mx.array([[9, 10, 11]])
    assert code == 0 and best["step"] > 0
    assert np.abs(np.array(loaded(tokens) - plain(tokens))).max() > 1e-3
    assert json.loads((folder / "adapter_config.json").read_text())["fine_tune_type"] == kind


def test_a_quantised_base_is_trained_through_its_adapter(train, tmp_path):
    from mlx_lm.convert import convert

    convert(str(tmp_path / "model"), mlx_path=str(tmp_path / "q4"), quantize=True, q_group_size=32, q_bits=4)
    folder, code, _ = train("run", "total_steps=6", f"model={tmp_path / 'q4'}")
    curve = json.loads((folder / "summary.json").read_text())
    assert code == 0 and curve["best"]["validation_loss"] < curve["before"]["validation_loss"]


def test_a_run_that_was_stopped_goes_on_with_the_same_bits(train, monkeypatch):
    whole, _, _ = train("whole", "total_steps=8")
    from distill.sft.trainer import SFTTrainer

    step = SFTTrainer._step

    def stopping(self, number):
        if number == 5:
            raise Interrupted(15)
        step(self, number)

    monkeypatch.setattr(SFTTrainer, "_step", stopping)
    _, code, _ = train("parts", "total_steps=8")
    assert code == 143
    monkeypatch.setattr(SFTTrainer, "_step", step)
    parts, code, _ = train("parts", "total_steps=8", resume=True)
    assert code == 0
    assert all((weights(whole)[name] == leaf).all() for name, leaf in weights(parts).items())
    assert [(m["step"], m["loss"]) for m in metrics(whole)] == [(m["step"], m["loss"]) for m in metrics(parts)]


def stopped_run(train, monkeypatch, number, name, *settings):
    """The directory of a run that a signal stopped in that step."""
    from distill.sft.trainer import SFTTrainer

    step = SFTTrainer._step

    def stopping(self, at):
        if at == number:
            raise Interrupted(15)
        step(self, at)

    with monkeypatch.context() as patch:
        patch.setattr(SFTTrainer, "_step", stopping)
        folder, code, _ = train(name, *settings)
    assert code == 143
    return folder


@pytest.mark.parametrize(
    "damage", [b"\0" * 20, b'{"step": 1e999, "x": 1}\n', b"[1]\n", b'{"step": "a"}\n', b"[" * 100_000]
)
def test_damaged_metrics_are_said_and_passed_over(train, monkeypatch, damage):
    folder = stopped_run(train, monkeypatch, 3, "parts", "total_steps=4")
    text = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes((damage + text)[: len(text)])
    _, code, shown = train("parts", "total_steps=4", resume=True)
    assert code == 0 and "lines of metrics.jsonl can't be read and are passed over" in shown.out


@pytest.mark.parametrize("damage", ["a bit", "the manifest", "all"])
def test_a_damaged_best_adapter_is_not_published(train, monkeypatch, damage):
    folder = stopped_run(train, monkeypatch, 5, "run", "total_steps=8")
    path = folder / "best" / "adapters.safetensors"
    if damage == "a bit":
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    elif damage == "the manifest":
        (folder / "best" / "manifest.json").write_text("{}")
    else:
        shutil.rmtree(folder / "best")
    _, code, said = train("run", "total_steps=8", resume=True)
    assert code == 2 and "the best adapter so far" in said.err and "is damaged" in said.err


def test_other_data_are_refused_when_a_run_is_resumed(train, tmp_path, monkeypatch):
    stopped_run(train, monkeypatch, 5, "run", "total_steps=8")
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    monkeypatch.setattr("tests.distill.sft.test_sft.corpus", lambda place: place)
    _, code, said = train("run", "total_steps=8", resume=True)
    assert code == 2 and "changed since it was written: data" in said.err


def test_the_best_is_kept_and_patience_ends_the_run(train):
    folder, code, _ = train("run", "total_steps=60", "learning_rate=1.0", "eval_every=1", "patience=3")
    summary = json.loads((folder / "summary.json").read_text())
    assert code == 0 and summary["steps"] < 60
    assert summary["steps"] == summary["best"]["step"] + 3
    best = dict(mx.load(str(folder / "best" / "adapters.safetensors")))
    assert all((np.array(best[name]) == leaf).all() for name, leaf in weights(folder).items())


def test_what_can_not_be_is_one_line_and_code_2(train, tmp_path):
    for overrides, reason in [
        (("leraning_rate=1",), "did you mean learning_rate"),
        ((f"data={tmp_path / 'none.jsonl'}",), "no such file"),
        (("model=/nowhere",), "no such directory"),
        (("max_length=2",), "none of its 24 rows gives an example"),
        (("patience=2", "eval_every=0"), "patience needs eval_every"),
    ]:
        _, code, shown = train("bad", *overrides)
        assert code == 2 and reason in shown.err and shown.err.count("\n") == 1
    train("run", "total_steps=1")
    _, code, shown = train("run", "total_steps=1")
    assert code == 2 and "--resume" in shown.err


@pytest.mark.parametrize("name", ["medical_cot_lora", "mlx_lora_32b"])
def test_the_checked_in_recipes_parse(name):
    config = load_config(SFTConfig, ROOT / "configs" / f"{name}.yaml")
    assert config.lora.rank == 16 and config.max_length == 2048


def test_help_needs_no_mlx():
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "try:\n    from distill.{0}.__main__ import main; main()\n"
        "finally:\n    assert 'mlx' not in sys.modules"
    )
    for command in ("sft", "student", "export"):
        done = subprocess.run([sys.executable, "-c", code.format(command)], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert "--output" in done.stdout


def test_the_log_has_what_was_said_the_versions_and_what_ended_the_run(train, monkeypatch):
    folder, code, shown = train("run", "total_steps=2", "max_length=12")
    log = (folder / "log.txt").read_text()
    assert code == 0 and "mlx 0." in log and "left out" in log
    assert all(line.strip() in log for line in shown.out.splitlines() if line.startswith("step "))
    from distill.sft.trainer import SFTTrainer

    def broken(self, number):
        raise ZeroDivisionError("no such step")

    monkeypatch.setattr(SFTTrainer, "_step", broken)
    with pytest.raises(ZeroDivisionError):
        train("broken", "total_steps=2")
    assert "ZeroDivisionError: no such step" in (folder.parent / "broken" / "log.txt").read_text()


def test_a_finished_run_that_is_resumed_says_so(train):
    folder, *_ = train("run", "total_steps=2")
    before = (folder / "adapters.safetensors").stat().st_mtime_ns
    _, code, shown = train("run", "total_steps=2", resume=True)
    assert code == 0 and f"{folder} is finished: 2 of 2 steps" in shown.out and "step 2/2" not in shown.out
    assert f"adapter={folder} --output NEW" in shown.out
    assert (folder / "adapters.safetensors").stat().st_mtime_ns == before
    _, code, shown = train("run", "total_steps=2", "learning_rate=0.5", resume=True)
    assert code == 2 and "can't resume" in shown.err


def test_a_run_that_patience_ended_goes_on_with_more_of_it(train):
    told = ("total_steps=9", "learning_rate=1.0", "eval_every=1")
    folder, *_ = train("run", *told, "patience=1")
    stopped = json.loads((folder / "summary.json").read_text())["steps"]
    assert stopped < 9
    _, _, shown = train("run", *told, "patience=1", resume=True)
    assert "stopped by patience 1" in shown.out
    train("run", *told, "patience=8", resume=True)
    assert json.loads((folder / "summary.json").read_text())["steps"] > stopped


def test_a_run_leaves_a_report(train):
    folder, _, shown = train("run", "total_steps=3")
    assert "<html" in (folder / "report.html").read_text() and "report.html" in shown.out
    from grpo.report.__main__ import main as report

    assert report([str(folder)]) == 0


def test_a_start_that_is_refused_leaves_no_directory(train, tmp_path):
    folder, code, _ = train("refused", "max_length=2")
    assert code == 2 and not folder.exists()
    (tmp_path / "there").mkdir()
    train("there", "max_length=2")
    assert (tmp_path / "there").exists()  # made by the user


def test_the_summary_counts_the_licences_of_the_rows(train, tmp_path):
    rows = [{"prompt": f"w{n}", "completion": "w31", "licence": "MIT"} for n in range(30, 40)]
    path = tmp_path / "licensed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder, *_ = train("run", "total_steps=1", f"data={path}")
    assert json.loads((folder / "summary.json").read_text())["licences"] == {"MIT": 10}


def test_benchmarks_are_measured_before_and_while_training(train, tmp_path):
    rows = "".join(json.dumps({"question": f"w3{n} w40", "answer": str(n)}) + "\n" for n in range(4))
    path = tmp_path / "questions.jsonl"
    path.write_text(rows)
    told = f"eval_benchmarks=[{{name: gsm8k, data: {path}, limit: 3, max_tokens: 4}}]"
    folder, code, shown = train("run", "total_steps=3", told)
    assert code == 0, shown.err
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 <= summary["before"]["gsm8k/pass@1"] <= 1 and "gsm8k/pass@1" in summary["after"]
    assert "eval/gsm8k/pass@1" in metrics(folder)[-1] and "custom data" in shown.out
    items = (folder / "benchmarks" / "step_000003" / "gsm8k" / "items.jsonl").read_text().splitlines()
    assert len(items) == 3
