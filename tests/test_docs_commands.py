"""Every command in a block of the README and the docs is run as it is written, page by page, on a model made here.

What takes long is run with --dry-run, which checks data, rewards and model; first_model.md's own training is run.
"""

import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas
import pytest

from benchmarks.harness import engine
from grpo.runs import layout

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STANDS_FOR = {"PATH_OR_HUB_ID": "MODEL", "DIR_OR_HUB_ID": "MODEL", "RUN": "runs/other"}
STANDS_FOR |= {"runs/a": "runs/other", "runs/b": "runs/other"}
NOT_RUN = ("python -m pytest", "python -m grpo.watch")  # the tests; a server, which its own tests start
NOT_HERE = ("OWNER/NAME", "--push", "--tune")  # a hub is needed, or the machine is measured
SMALL = {  # module -> what makes it small
    "grpo.train": ["--dry-run"],
    "distill.pipeline": ["--dry-run"],
    "benchmarks.math500": ["--data", "math500.jsonl", "--limit", "1", "--max-tokens", "4"],
}
TRAINED = {"docs/first_model.md": ["steps=1", "cold_start.steps=1", "eval_every=1"]}  # pages whose training is run
MESSAGES = "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}= {% endif %}"


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of every fenced block."""
    language: str | None = None
    text: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("```"):
            text.append(line)
        elif language is None:
            language, text = line[3:], []
        else:
            yield language, "\n".join(text)
            language = None


def commands(page: Path) -> list[str]:
    lines = "\n".join(text for language, text in blocks(page) if not language).replace("\\\n", " ").splitlines()
    stripped = [re.sub(r"\s{2,}#.*", "", line).strip() for line in lines]
    asked = [line.split(" && ")[-1] if line.startswith("pip ") else line for line in stripped]
    return [
        line for line in asked if line.startswith(("python -m ", "echo ", "grpo ")) and not line.startswith(NOT_RUN)
    ]


def files_of(page: Path, place: Path) -> None:
    """Write the modules that a page shows: named in a comment of their first line, or in the line before."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"```python\n# (\w+\.py)\b[^\n]*\n(.*?)```", text, flags=re.DOTALL)
    named += re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", text, flags=re.DOTALL)
    for name, code in named:
        (place / name).write_text(code)
        sys.modules.pop(name.removesuffix(".py"), None)
    importlib.invalidate_caches()


def ran(module: str, words: list[str]) -> int:
    package = (ROOT / module.replace(".", "/")).is_dir()
    found = importlib.import_module(f"{module}.__main__" if package else module)
    try:
        if hasattr(found, "BENCHMARK"):
            return engine.main(found.BENCHMARK, found.__doc__, words) or 0
        return (found.main(words) if module != "benchmarks" else found.main()) or 0
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the model, the data and the runs that the pages name."""
    from grpo.config.sections import ColdStart
    from grpo.model import miniature

    where = tmp_path_factory.mktemp("reader")
    miniature.build(where / "MODEL", ColdStart(steps=1), 0)
    settings = where / "MODEL" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": MESSAGES}))
    rows = [{"prompt": f"{n} + 1 + 2 =", "answer": str(n + 3), "solution": str(n + 3)} for n in range(30)]
    for name in ("rows.jsonl", "my_questions.jsonl", "math500.jsonl", "my_sft.jsonl"):
        (where / name).write_text("".join(json.dumps(row | {"problem": row["prompt"]}) + "\n" for row in rows))
    (where / "configs").symlink_to(ROOT / "configs")
    (where / "my_rewards.py").write_text(
        "def short(completions, **columns):\n    return [-len(c) for c in completions]\n"
    )
    nested = [{"extra": {"question": row["prompt"]}, "reward_model": {"ground_truth": row["answer"]}} for row in rows]
    pandas.DataFrame(nested).to_parquet(where / "rows.parquet")
    before = os.getcwd()
    os.chdir(where)
    sys.path.insert(0, str(where))
    given = ["model=MODEL", "data=rows.jsonl", "steps=1", "prompts_per_step=2", "num_generations=2", "eval_every=1"]
    assert ran("grpo.train", [*given, "max_completion_length=4", "--output", "runs/other"]) == 0
    for name in ("before", "after"):
        words = ["--model", "MODEL", "--output", f"runs/{name}", *SMALL["benchmarks.math500"]]
        assert ran("benchmarks.math500", words) == 0
    yield where
    os.chdir(before)
    sys.path.remove(str(where))


def test_the_pages_hold_commands():
    assert sum(len(commands(page)) for page in PAGES) > 25


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page, place, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("3\n" * 9))  # where a page plays
    files_of(page, place)
    name = page.relative_to(ROOT).as_posix()
    for command in commands(page):
        if any(sign in command for sign in NOT_HERE):
            continue
        if command.startswith("echo "):
            subprocess.run(command, shell=True, check=True)
            continue
        words = [STANDS_FOR.get(word, word) for word in shlex.split(command) if word != "..."]
        words = [re.sub(r"=(PATH_OR_HUB_ID)$", "=MODEL", word) for word in words]
        module = words[2] if words[0] == "python" else ""
        small = SMALL.get(module, [])
        if name in TRAINED and module == "grpo.train":
            small = TRAINED[name] + (["max_completion_length=4"] if "model=MODEL" in words else [])
            words = [word for word in words if not word.startswith(("steps=", "eval_every="))]
        code = ran(module, [*words[3:], *small])
        assert code == 0, (command, capsys.readouterr().err[-800:])


def pattern(name: str) -> str:
    """A regular expression for the names that NAME, KIND, NNNNNN and * stand for."""
    words = {"NAME": "[^/]+", "KIND": "[^/]+", "NNNNNN": r"\d{6}", r"\*": ".*"}
    return re.sub("NAME|KIND|NNNNNN|" + r"\\\*", lambda found: words[found[0]], re.escape(name))


def test_the_reference_of_the_run_directory_names_what_a_run_holds(place):
    run = place / "runs" / "other"
    for path in run.rglob("*"):
        name = path.relative_to(run).as_posix()
        known = [file for file in layout.FILES if re.fullmatch(pattern(file) + ("" if file[-1] != "/" else ".*"), name)]
        if path.is_file() and not name.startswith("."):
            assert known, f"{name} is not in grpo/runs/layout.py"
    for name in json.loads((run / "metrics.jsonl").read_text().splitlines()[0]):
        said = " ".join([*layout.METRICS, *layout.METRICS.values()])
        parent, _, last = name.rpartition("/")
        known = any(re.fullmatch(pattern(metric), name) for metric in layout.METRICS)
        beside = any(
            re.fullmatch(pattern(m.rpartition("/")[0]), parent) and last in t for m, t in layout.METRICS.items()
        )
        assert known or beside or name in said, f"{name} is not in grpo/runs/layout.py"
    for row in (run / "completions" / "step_000001.jsonl").read_text().splitlines():
        unknown = json.loads(row).keys() - layout.ROW.keys() - {"solution", "problem", "language"}
        assert not unknown, f"{unknown} are not in grpo/runs/layout.py"
