"""Every command in the README, the docs, the configs and the help texts is one that works as it is written."""

import contextlib
import functools
import importlib
import io
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.harness import engine
from grpo.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("*/recipes/*.yaml")])
COMMAND = re.compile(r"python -m ((?:grpo|distill|benchmarks|rewards|envs)[\w.]*)((?:[^`|#&\n(),;\\]|\\\n)*)")
KEY_VALUE = re.compile(r"[A-Za-z_][\w.]*(:\w+)?=.*")


def written() -> list[tuple[str, str, str]]:
    """(where, module, arguments) of every command that somebody may copy."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in [*PROSE, *CONFIGS]}
    for path in CONFIGS:  # comments only
        name = path.relative_to(ROOT).as_posix()
        texts[name] = "\n".join(line.lstrip("# ") for line in texts[name].splitlines() if line.startswith("#"))
    for module, _ in COMMANDS.values():
        texts[f"{module} --help"] = importlib.import_module(_main_of(module)).__doc__ or ""
    return [
        (where, found[1].rstrip("."), " ".join(found[2].replace("\\\n", " ").split()))
        for where, text in texts.items()
        for found in COMMAND.finditer(text)
    ]


def _main_of(module: str) -> str:
    return f"{module}.__main__" if (ROOT / module.replace(".", "/") / "__main__.py").exists() else module


@functools.cache
def helped(module: str) -> str:
    """What --help of a command says."""
    out = io.StringIO()
    main = importlib.import_module(_main_of(module))
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        if getattr(main, "main", None) is engine.main:  # a benchmark of a table line
            engine.main(main.BENCHMARK, main.__doc__, ["--help"])
        else:
            main.main(["--help"])
    return out.getvalue()


def words_of(arguments: str) -> list[str]:
    """The words of a command, what stands in square brackets being there as well."""
    return shlex.split(arguments.replace("[", " ").replace("]", " ")) if '"' not in arguments else []


ALL = written()


def test_there_are_many():
    assert len(ALL) > 40 and len({module for _, module, _ in ALL}) > 15


@pytest.mark.parametrize(("where", "module", "arguments"), ALL, ids=[f"{w}: {m} {a}"[:70] for w, m, a in ALL])
def test_a_command_has_the_flags_and_keys_that_are_written(where, module, arguments):
    if module in ("benchmarks.NAME", "benchmarks", "envs"):
        return
    words = [word for word in words_of(arguments) if word.startswith("--") or KEY_VALUE.fullmatch(word)]
    said = helped(module) if words else ""
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word.partition('=')[0])}\b", said), f"{where}: {module} has no {word}"
        elif KEY_VALUE.fullmatch(word) and " = " in said:
            key = word.partition("=")[0]
            names = {key, key.rpartition(".")[0], key.partition(".")[0], key.partition(":")[0].rpartition(".")[0]}
            keys = set(re.findall(r"^  (?:\w+: )?([\w.]+) = ", said, flags=re.M)) | {"method"}
            assert names & keys or key in said, f"{where}: {module} has no key {key}"


# What is run: long ones with --dry-run, with files of the test where the text has a name to be filled in


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with the files that the README's examples name."""
    (tmp_path / "my_rewards.py").write_text(
        "def short(completions, **columns):\n    return [-len(c) / 100 for c in completions]\n"
    )
    (tmp_path / "my_questions.jsonl").write_text(
        "".join(f'{{"prompt": "{n} + 1 =", "answer": "{n + 1}"}}\n' for n in range(30))
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "easy_arith_train.jsonl").write_text((tmp_path / "my_questions.jsonl").read_text())
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "grpo").symlink_to(ROOT / "grpo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def ran(module: str, *words: str) -> int:
    try:
        return importlib.import_module(_main_of(module)).main(list(words)) or 0
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_dry_run_by_the_command_it_is_for(config, place, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no minutes of attempts to reach it
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    first = config.read_text(encoding="utf-8").partition("\n")[0]
    module = first.removeprefix("# command:").split()[0] if first.startswith("# command:") else "grpo.train"
    for path in map(
        Path, re.findall(r"[:\[ ](\w[\w/]*\.jsonl)", config.read_text(encoding="utf-8"))
    ):  # of the user's own
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"prompt": "1 + 1 =", "completion": "2", "answer": "2"}\n' * 9)
    if module == "grpo.train":
        pytest.skip("tests/grpo/config loads it; its model and data are on a hub")
    # 1: it is whole, but this machine is too small for it
    assert ran(module, "--config", str(config), "--dry-run") in (0, 1), capsys.readouterr().err


RUN = {
    "the quickstart": ("grpo.train", "--dry-run"),
    "own reward": (
        *(
            "grpo.train",
            "--config",
            "configs/smollm2_arithmetic.yaml",
            "--dry-run",
            "model=miniature",
            "template=plain",
        ),
        *("data=my_questions.jsonl", "reward_weights.my_rewards:short=0.1", "steps=100"),
    ),
    "the doctor": ("grpo.doctor",),
    "environments": ("envs", "list"),
    "an environment": ("envs", "show", "digit_sums", "-n", "1"),
    "benchmarks": ("benchmarks",),
    "the pipeline": ("distill.pipeline", "--dry-run"),
    "a student": (
        "distill.student",
        "method=on_policy",
        "model=my/student",
        "teacher=my/teacher",
        "data=digit_sums",
        "--dry-run",
    ),
    "supervised": ("distill.sft", "--config", "configs/medical_cot_lora.yaml", "--dry-run"),
    "rejection": ("distill.rejection", "--config", "configs/rejection_smollm2.yaml", "--dry-run"),
}


@pytest.mark.parametrize("what", RUN)
def test_a_command_runs(what, place, capsys, monkeypatch):
    module, *words = RUN[what]
    if module == "benchmarks":
        from benchmarks.__main__ import main

        assert main() == 0
        return
    fine = (0, 1) if module.startswith("distill.") else (0,)  # 1: whole, but this machine is too small for it
    assert ran(module, *words) in fine, capsys.readouterr()


def test_a_dry_run_leaves_nothing_and_names_what_is_not_there(place, capsys):
    before = sorted(place.iterdir())
    assert ran("distill.sft", "model=./none", "data=my_questions.jsonl", "--dry-run") == 2
    assert "model ./none: no such directory" in capsys.readouterr().err
    assert ran("distill.sft", "model=x/y", "data=none.jsonl", "--dry-run") == 2
    assert sorted(place.iterdir()) == before


def test_every_command_of_grpo_answers_help():
    for module, _ in COMMANDS.values():
        if module not in ("benchmarks", "envs"):
            assert "usage:" in helped(module), module
