"""`--dry-run` of the commands of distill: what can't work is found before anything is loaded."""

import importlib
import json

import pytest

from tests.distill.small_models import corpus, model_directory


@pytest.fixture
def dry_run(tmp_path, capsys, monkeypatch):
    """The command in a directory with a tiny model; its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    model_directory(tmp_path / "model")
    (tmp_path / "empty.jsonl").write_text('{"text_": 1}\n')
    (tmp_path / "tasks.jsonl").write_text("".join(f'{{"prompt": "w{n}", "answer": "{n}"}}\n' for n in range(30, 40)))
    rows = corpus(tmp_path / "rows.jsonl", rows=2)
    rows.write_text(rows.read_text() + '{"prompt": "no answer"}\n')
    before = sorted(tmp_path.iterdir())

    def run(command, *words):
        code = importlib.import_module(f"{command}.__main__").main([*words, "--dry-run"])
        assert sorted(tmp_path.iterdir()) == before
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_rows_model_and_memory_of_supervised_training(dry_run):
    code, said = dry_run("distill.sft", "model=model", "data=rows.jsonl")
    assert code == 0 and "2 rows of the first 3 can be read" in said and "1 rows will be left out" in said
    assert "ok    memory" in said and "python -m distill.sft model=model data=rows.jsonl" in said


def test_tasks_and_rewards_of_rejection(dry_run):
    code, said = dry_run("distill.rejection", "model=model", "data=tasks.jsonl")
    assert code == 0 and "ok    data" in said and "1 accuracy" in said and "ok    memory" in said


def test_the_memory_of_a_model_that_is_too_large_ends_it_with_1(dry_run, tmp_path):
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"hidden_size": 4096}))
    code, said = dry_run(
        "distill.sft", "model=model", "data=rows.jsonl", "token_budget=100000000", "max_length=9999999"
    )
    assert code == 1 and "it can't run here as it is: " in said


@pytest.mark.parametrize(
    ("command", "words", "problem"),
    [
        ("distill.sft", ("model=none", "data=rows.jsonl"), "model none: no such directory, and no hub id"),
        ("distill.sft", ("model=model", "data=empty.jsonl"), "none of its 1 rows can be read"),
        ("distill.sft", ("model=model", "data=none.jsonl"), "data none.jsonl: no such file or directory"),
        (
            "distill.sft",
            ("model=model", "data=rows.jsonl", "adapter=absent"),
            "adapter absent: no such file or directory",
        ),
        ("distill.rejection", ("model=model", "data=tasks.jsonl", "rewards=[acuracy]", "require={}"), "acuracy"),
        (
            "distill.student",
            ("method=logit", "model=model", "teacher=none", "data=rows.jsonl"),
            "teacher none: no such",
        ),
        ("distill.student", ("method=on_policy", "model=model", "teacher=model", "data=none.jsonl"), "none.jsonl"),
    ],
)
def test_what_can_not_work_is_one_line(dry_run, command, words, problem):
    code, said = dry_run(command, *words)
    assert code == 2 and said.splitlines()[-1].startswith("error: ") and problem in said.splitlines()[-1], said


def test_the_doctor_reads_which_command_a_config_is_for(tmp_path, capsys, monkeypatch):
    from grpo.doctor.__main__ import main as doctor
    from grpo.train import main as train

    monkeypatch.chdir(tmp_path)
    model_directory(tmp_path / "model")
    corpus(tmp_path / "rows.jsonl")
    config = tmp_path / "mine.yaml"
    config.write_text("# command: distill.sft\nmodel: model\ndata: rows.jsonl\n")
    assert doctor(["--config", str(config), "max_length=64"]) == 0
    assert f"python -m distill.sft --config {config} max_length=64" in capsys.readouterr().out
    assert train(["--config", str(config)]) == 2
    assert f"is for another command: python -m distill.sft --config {config}" in capsys.readouterr().err
