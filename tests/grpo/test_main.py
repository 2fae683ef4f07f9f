"""The console script: one line a command, each run as its module."""

import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import pytest

from grpo.__main__ import COMMANDS, DISTRIBUTION, main


@pytest.mark.parametrize("module", [module for module, _ in COMMANDS.values()])
def test_every_command_is_a_module_that_can_be_run(module):
    spec = find_spec(module)
    assert spec is not None
    assert spec.submodule_search_locations is None or find_spec(f"{module}.__main__") is not None


def test_the_list_names_every_command(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)


def test_the_version_is_the_distributions(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version(DISTRIBUTION)


@pytest.mark.parametrize("arguments", [["trian"], ["bench", "nowhere"], ["bench", "../x"]])
def test_an_unknown_name_is_one_line(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


@pytest.mark.parametrize("arguments", [["train"], ["sft"], ["pipeline"], ["bench", "math500"], ["envs"]])
def test_a_command_gets_its_arguments_and_gives_its_exit_code(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "grpo", *arguments, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and "usage" in done.stdout


def test_a_refusal_keeps_its_exit_code():
    command = [sys.executable, "-m", "grpo", "train", "stepz=3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "stepz" in done.stderr


def test_several_benchmarks_each_get_a_folder(monkeypatch, capsys):
    from grpo import __main__ as module

    seen = []
    monkeypatch.setattr(module, "_run", lambda module, name, arguments: seen.append((module, arguments)) or 0)
    assert main(["bench", "gsm8k,math500", "--model", "m", "--output", "runs/b"]) == 0
    assert seen == [
        ("benchmarks.gsm8k", ["--model", "m", "--output", "runs/b/gsm8k"]),
        ("benchmarks.math500", ["--model", "m", "--output", "runs/b/math500"]),
    ]
    assert main(["bench", "gsm8k,math500", "--model", "m"]) == 2
    assert "several benchmarks need --output" in capsys.readouterr().err
