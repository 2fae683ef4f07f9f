"""What suits a machine is measured, recorded, and begun with."""

import platform

import pytest

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.doctor import tuning
from grpo.doctor.__main__ import main
from grpo.runs import tuned
from grpo.runs.command import configure
from grpo.train import quickstart


class Clock:
    """Time passes when something is measured."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_sizes_are_tried_until_they_are_no_faster():
    clock, tried = Clock(), []

    def rate(size):
        tried.append(size)
        clock.now += 0.1
        return {16: 100.0, 32: 190.0, 64: 195.0, 128: 180.0}[size]

    rates = tuning.measured([16, 32, 64, 128, 256], rate, seconds=100, clock=clock)
    assert tried == [16, 32, 64, 128]  # 180 is less than 95% of 195
    assert tuning.chosen(rates) == 32  # 190 is near 195, with half the memory


def test_a_size_that_would_take_too_long_is_not_tried():
    clock = Clock()

    def rate(size):
        clock.now += size / 16
        return float(size)

    # 16 takes 1 s and 32 would take 2: 3 of 3.5; 64 would take 4 more
    assert list(tuning.measured([16, 32, 64], rate, seconds=3.5, clock=clock)) == [16, 32]


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "settings" / "tuned.yaml"
    monkeypatch.setenv(tuned.VARIABLE, str(path))
    return path


def test_runs_begin_with_what_was_recorded(file, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    assert tuned.layer({"model": str(model)}) is None
    assert tuned.write(Config(model=str(model)), {"max_rows": 8, "token_budget": 2048}) == file
    found = tuned.layer({"model": str(model), "num_generations": 12})
    assert found.source == str(file) and found.tree == {"max_rows": 12, "token_budget": 2048}
    assert tuned.layer({"model": str(model), "fine_tune": "full"}) is None
    assert tuned.layer({"model": "another/model"}) is None
    file.write_text(file.read_text().replace(platform.node(), "elsewhere"))
    assert tuned.layer({"model": str(model)}) is None


def test_a_file_or_the_command_line_has_the_last_word(file):
    tuned.write(Config(model="owner/name"), {"max_rows": 32, "token_budget": 2048})
    options = type("Options", (), {"config": None, "output": None, "resume": False})()
    options.overrides = ["model=owner/name", "token_budget=512"]
    settled = configure(options, Config, "quickstart", packaged=quickstart, measured=tuned.layer)
    assert (settled.config.max_rows, settled.config.token_budget) == (32, 512)
    assert settled.differing[str(file)] == ["max_rows=32"]


def test_the_doctor_measures_a_model(file, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tuning, "ROWS", (16, 32))
    monkeypatch.setattr(tuning, "BUDGETS", (64, 128))
    folder = tiny.directory(tmp_path / "model")
    keys = ["max_completion_length=16", "template=plain"]
    assert main(["--tune", f"model={folder}", *keys]) == 0
    said = capsys.readouterr().out
    assert f"written to {file}" in said
    values = tuned.layer({"model": str(folder)}).tree
    assert values["max_rows"] in (16, 32) and values["token_budget"] in (64, 128)


def test_the_miniature_is_not_measured(file, capsys):
    assert main(["--tune"]) == 2
    assert "give model=DIR" in capsys.readouterr().err


def test_nothing_is_written_where_no_file_is_wanted(monkeypatch):
    monkeypatch.setenv(tuned.VARIABLE, "")
    assert tuned.layer({"model": "owner/name"}) is None
    with pytest.raises(ConfigError, match="GRPO_TUNED is empty"):
        tuned.write(Config(model="owner/name"), {"max_rows": 8})
