"""What the doctor says and the exit code it ends with; the hub is never asked."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from grpo.config import Config
from grpo.cpu.blas import Blas
from grpo.doctor import machine, model, run
from grpo.doctor.__main__ import main
from grpo.doctor.machine import matmul_gflops, speed
from grpo.doctor.model import has_chat_template
from grpo.doctor.report import Report

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 10,
    "tie_word_embeddings": True,
}


TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ m.role }}]\n{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}[model]{% endif %}"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """The same quick machine everywhere, and a directory of its own."""
    monkeypatch.setattr(machine, "matmul_gflops", lambda: 100.0)
    monkeypatch.setattr("grpo.memory.available.available_bytes", lambda: (int(20e9), "of memory"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    """A small model directory with a chat template."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(SETTINGS))
    tensors = {"model.layers.0.self_attn.q_proj.weight": {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, 256]}}
    header = json.dumps(tensors).encode()
    (made / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(256))
    words = Tokenizer(models.WordLevel(vocab={"?": 0, "<end>": 1, "user": 2}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(made / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "unk_token": "?"}
    (made / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    return made


def seen(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, report, stderr."""
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def line(report: str, item: str) -> str:
    """The last line on an item."""
    return [text for text in report.splitlines() if text[6:17].strip() == item][-1]


def test_the_quickstart_can_run(capsys):
    code, report, error = seen(capsys)
    assert (code, error) == (0, "")
    assert "\nthe quickstart:" in report and "miniature" in line(report, "model")
    assert "800 train, 200 test" in line(report, "data")
    assert "1 accuracy + 0.3 format + 0.2 language" in line(report, "rewards")
    assert line(report, "memory").startswith("ok")
    assert report.endswith("ready: python -m grpo.train\n")


def test_the_machine_is_described(capsys):
    _, report, _ = seen(capsys)
    assert "Python 3." in line(report, "packages") and "mlx-lm" in line(report, "packages")
    assert line(report, "device").startswith("ok")


def test_a_local_model_is_described(capsys, folder):
    code, report, _ = seen(capsys, f"model={folder}", "template=chat", "fine_tune=lora", "lora.targets=[q_proj]")
    assert code == 0
    assert "llama, 0.00M parameters, 2 blocks, float32" in line(report, "model")
    assert "the model has one" in line(report, "template")
    assert "LoRA of rank 16" in line(report, "training")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nosuch=1"], "unknown key nosuch"),
        (["--config", "none.yaml"], "cannot read the config none.yaml"),
        (["model=/no/such/model"], "no such directory, and no hub id"),
        (["model=."], "no config.json"),
        (["data=none.jsonl"], "none.jsonl: no such file"),
        (["data=arithmetics"], "did you mean arithmetic"),
        (["data_options.tset_size=3"], "no option 'tset_size'"),
        (["reward_weights.acuracy=1"], "unknown reward 'acuracy'"),
        (["reward_weights.no_module:f=1"], "module no_module not imported"),
        (["fine_tune=lora", "lora.targets=[nothing]"], "has no linear layer"),
        (["fine_tune=lora", "lora.layers=9"], "lora.layers must be -1 or 1 to 4, got 9"),
        (["fine_tune=lora", "adapter=nowhere"], "adapter nowhere: no adapters.safetensors"),
    ],
)
def test_wrong_input_is_one_line_and_2(capsys, arguments, reason):
    code, _, error = seen(capsys, *arguments)
    assert code == 2
    assert reason in error and error.startswith("error: ") and error.count("\n") == 1


def test_every_fault_is_in_the_report_and_the_first_on_stderr(capsys):
    code, report, error = seen(capsys, "model=/no/such/model", "data=none.jsonl")
    assert code == 2
    assert line(report, "model").startswith("FAIL") and line(report, "data").startswith("FAIL")
    assert "/no/such/model" in error and "and 1 more above" in error


def test_a_missing_chat_template_is_wrong_input(capsys, folder):
    (folder / "tokenizer_config.json").write_text("{}")
    code, _, error = seen(capsys, f"model={folder}", "template=chat")
    assert code == 2 and "use template: plain or r1_zero" in error


def test_one_prompt_is_shown_as_the_model_will_see_it(capsys, folder):
    given = (f"model={folder}", "template=chat", "fine_tune=lora", "lora.targets=[q_proj]", "system_prompt=Be brief.")
    code, report, _ = seen(capsys, *given)
    assert code == 0 and "a completion ends with '<end>'; the first is" in report
    assert (
        "                  | [user]\n                  | Be brief.\n                  | \n                  | "
        in report
    )
    assert "warn  prompt      the chat template takes no system message" in report
    # this vocabulary has three words, so most of the prompts are unknown to the model
    assert "% of the tokens of the train prompts are unknown to the model (?)" in line(report, "prompt")


def test_a_tokenizer_that_is_broken_missing_or_endless_is_one_line(capsys, folder):
    given = (f"model={folder}", "template=plain", "fine_tune=lora", "lora.targets=[q_proj]")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert "names no end token, so no completion would ever end" in seen(capsys, *given)[2]
    (folder / "tokenizer.json").write_text("{}")
    code, _, error = seen(capsys, *given)
    assert code == 2 and "its tokenizer can't be loaded" in error and error.count("\n") == 1
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer.json beside the weights" in seen(capsys, *given)[2]


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_a_chat_template_may_have_a_file_of_its_own(folder, name):
    (folder / "tokenizer_config.json").unlink()
    assert not has_chat_template(folder)
    (folder / name).write_text("{{ messages }}")
    assert has_chat_template(folder)


def test_a_model_without_weights_is_wrong_input(capsys, folder):
    (folder / "model.safetensors").unlink()
    code, _, error = seen(capsys, f"model={folder}")
    assert code == 2 and "the weights are missing" in error


def test_full_fine_tuning_of_a_quantised_model_is_wrong_input(capsys, folder):
    name = "model.layers.0.self_attn.q_proj"
    tensors = {
        f"{name}.weight": {"dtype": "U32", "shape": [8, 8], "data_offsets": [0, 256]},
        f"{name}.scales": {"dtype": "F16", "shape": [8, 1], "data_offsets": [256, 272]},
    }
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(272))
    code, report, error = seen(capsys, f"model={folder}", "fine_tune=full")
    assert code == 2 and "is quantised" in error and "4-bit quantised" in line(report, "model")


def test_what_does_not_fit_is_1_with_the_knob(capsys, monkeypatch):
    monkeypatch.setattr("grpo.memory.available.available_bytes", lambda: (int(1e9), "of memory"))
    code, report, error = seen(capsys, "token_budget=65536", "prompts_per_step=64", "max_rows=16")
    assert (code, error) == (1, "")
    assert line(report, "memory").startswith("FAIL") and "token_budget=" in line(report, "memory")
    assert "it can't run as it is" in report


def test_what_is_close_is_a_warning(capsys, monkeypatch):
    monkeypatch.setattr("grpo.memory.available.available_bytes", lambda: (int(0.85e9), "of memory"))
    code, report, _ = seen(capsys)
    assert code == 0 and line(report, "memory").startswith("warn")


def test_a_full_disk_is_1(capsys, monkeypatch):
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    code, report, _ = seen(capsys)
    assert code == 1 and line(report, "disk").startswith("FAIL")


def test_malformed_rows_are_counted(capsys, tmp_path):
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(20)] + [{"question": "no answer"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, report, _ = seen(capsys, "data=rows.jsonl")
    assert code == 0
    assert "1 rows can't be used and are skipped" in report and "rows.jsonl:21" in report


def test_an_output_that_holds_a_run_is_said(capsys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("")
    code, report, _ = seen(capsys, "output=out")
    assert code == 0 and "add --resume" in line(report, "output")


def test_a_slow_blas_comes_with_its_remedy(capsys, monkeypatch):
    monkeypatch.setattr(machine, "matmul_gflops", lambda: 3.0)
    monkeypatch.delenv("GRPO_BLAS", raising=False)
    speed(Report(), Blas("MLX's own", None), on_cpu=True)
    said = capsys.readouterr().out
    assert said.startswith("warn  BLAS") and "3 GFLOP/s" in said and "pip install mkl" in said


@pytest.mark.parametrize(
    ("blas", "line"),
    [
        (Blas("MKL", "x", few_rows=True), "ok    few rows"),
        (Blas("MKL", "x", few_rows_reason="there is no gcc"), "warn  few rows    decoding is slower"),
    ],
)
def test_who_multiplies_few_rows_is_said(capsys, monkeypatch, blas, line):
    monkeypatch.setattr(machine, "matmul_gflops", lambda: 300.0)
    speed(Report(), blas, on_cpu=True)
    assert line in capsys.readouterr().out
    speed(Report(), blas, on_cpu=False)
    assert "few rows" not in capsys.readouterr().out


def test_a_blas_that_was_switched_off_is_said(capsys, monkeypatch):
    monkeypatch.setattr(machine, "matmul_gflops", lambda: 3.0)
    monkeypatch.setenv("GRPO_BLAS", "none")
    speed(Report(), Blas("MLX's own", None), on_cpu=True)
    assert "GRPO_BLAS=none is set" in capsys.readouterr().out


def test_a_product_has_a_speed():
    assert matmul_gflops(size=64, runs=1) > 0


def test_steps_and_completions_are_counted(capsys):
    # 3 * 5 * 4 = 60 completions; 15 prompts of 800
    _, report, _ = seen(capsys, "steps=3", "prompts_per_step=5", "num_updates=1", "num_generations=4")
    assert "= 60 completions" in line(report, "work")
    assert "0.019 times through the tasks" in line(report, "work")


def test_few_tasks_seen_often_are_a_warning(capsys):
    # 30 * 4 = 120 prompts of 2 tasks
    _, report, _ = seen(capsys, "steps=30", "prompts_per_step=4", "num_updates=1", "data_options.limit=2")
    assert "; 60 times through the tasks: 2 task(s) are too few, they are learned by heart" in line(report, "work")
    assert line(report, "work").startswith("warn")


def test_bfloat16_on_a_cpu_is_a_warning(capsys, monkeypatch):
    import mlx.core as mx

    if mx.default_device().type != mx.DeviceType.cpu:
        pytest.skip("this machine has a GPU")
    model._dtype(Report(), Config(model="x", dtype="bfloat16"))
    assert "use dtype: float32" in capsys.readouterr().out


def doctor_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as it is typed: it looks, and downloads nothing."""
    command = [sys.executable, "-m", "grpo.doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_a_hub_model_that_is_not_here_is_estimated_by_its_name():
    done = doctor_process("model=Qwen/Qwen2.5-0.5B-Instruct", "fine_tune=lora", "token_budget=64", "max_rows=16")
    assert done.returncode in (0, 1), done.stderr  # 1: a small machine
    assert "Qwen/Qwen2.5-0.5B-Instruct" in line(done.stdout, "model")
    assert "needs about" in done.stdout


def test_an_unknown_hub_model_and_data_set_are_warnings():
    done = doctor_process("model=nobody/none-at-all", "data=nobody/nothing")
    assert done.returncode == 0, done.stderr
    assert line(done.stdout, "model").startswith("warn") and "will be downloaded" in line(done.stdout, "model")
    assert line(done.stdout, "data").startswith("warn")
    assert "not known" in line(done.stdout, "memory")
