"""Shared by the speed benchmarks: a measurement in its own process, its record, its section of a page."""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed import machine

if TYPE_CHECKING:
    from grpo.model.facts import ModelFacts
    from grpo.model.policy import Policy
    from grpo.types import Prompt

PROMPT, GROUP, RANK = 130, 16, 8
MINIATURE = "miniature"


def run(main: Callable[[], int], measure: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> int:
    """The exit code of a command; 130 and no traceback if it is interrupted.

    With `--task JSON` the process is one that `in_process` has started: it prints what `measure` makes of the task.
    """
    try:
        if measure is not None and sys.argv[1:2] == ["--task"]:
            print(json.dumps(measure(json.loads(sys.argv[2]))))
            return 0
        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def add_options(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    """Options that every speed benchmark has."""
    parser.add_argument("--rounds", type=int, default=rounds, help=f"interleaved rounds ({rounds}); medians are shown")
    parser.add_argument("--output", type=Path, required=True, help="directory of the JSON record and the table")
    parser.add_argument("--page", type=Path, help="a Markdown file whose section of this benchmark is replaced")


def check_models(parser: argparse.ArgumentParser, models: Sequence[str]) -> None:
    """End with exit code 2 and one line if one of them is no model directory."""
    for model in models:
        if model != MINIATURE and not (Path(model) / "config.json").exists():
            parser.error(f"--model {model}: no config.json there; give a local MLX directory, or {MINIATURE}")


def model_directories(models: Sequence[str], folder: Path) -> dict[str, str]:
    """Name -> directory. The embedded model is made after one supervised step: what it says is no matter of speed."""
    found = {}
    for model in models:
        if model == MINIATURE:
            made = folder / "models" / MINIATURE
            if not (made / "config.json").exists():
                code = "from grpo.cpu.blas import load_blas; load_blas(); import sys; from pathlib import Path; "
                code += "from grpo.config import ColdStart; from grpo.model.miniature import build; "
                code += "build(Path(sys.argv[1]), ColdStart(steps=1), 0)"
                subprocess.run([sys.executable, "-c", code, str(made)], check=True)
            found[model] = str(made)
        else:
            found[Path(model).resolve().name] = model
    return found


def in_process(module: str, task: dict[str, Any]) -> dict[str, Any]:
    """Return what `python -m MODULE --task JSON` prints last; end the benchmark with one line if that fails."""
    command = [sys.executable, "-m", module, "--task", json.dumps(task)]
    with tempfile.TemporaryFile("w+") as errors:
        given = {**os.environ}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=given)
        errors.seek(0)
        said = errors.read().strip().splitlines()
    if done.returncode:
        raise SystemExit(f"{module} {task} ended with code {done.returncode}: {said[-1] if said else 'no message'}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def resident_bytes() -> int:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def write(name: str, record: dict[str, Any], table: str, options: argparse.Namespace, *, final: bool = True) -> None:
    """NAME.json and NAME.md under --output; when all is measured, the table on the screen and in --page's section."""
    options.output.mkdir(parents=True, exist_ok=True)
    whole = {"benchmark": name, "machine": machine.describe(), **record}
    (options.output / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    (options.output / f"{name}.md").write_text(table, encoding="utf-8")
    if not final:
        return
    if options.page is not None:
        write_section(options.page, name, f"{table}\n{_footer(whole['machine'])}")
    print(table)


def write_section(path: Path, name: str, text: str) -> None:
    """Put the text between this benchmark's markers on a page, which is begun if there is none."""
    page = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    path.write_text(with_section(page, name, text), encoding="utf-8")


def with_section(page: str, name: str, text: str) -> str:
    """The page with the text between this benchmark's markers, at its end if it has none."""
    section = f"<!-- {name} -->\n{text.strip()}\n<!-- end of {name} -->"
    place = re.compile(rf"<!-- {re.escape(name)} -->.*?<!-- end of {re.escape(name)} -->", re.DOTALL)
    if place.search(page):
        return place.sub(lambda _: section, page)
    return f"{page.rstrip()}\n\n{section}\n"


def _footer(described: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items() if version)
    where = f"{described['processor']}, {described['cores']} cores, {described['system']}"
    return f"{described['date']}; {where}; {described['blas']['name']}; {versions}."


def load(model: str, *, samples: int = GROUP, tokens: int, rank: int = RANK) -> "tuple[Policy, Any]":
    """The policy as a run starts with it (LoRA, beta 0.01), without stop tokens, and its config."""
    from grpo.config import Config
    from grpo.config.sections import LoRA
    from grpo.model.loading import load_policy

    config = Config(
        model=model,
        num_generations=samples,
        max_completion_length=tokens,
        beta=0.01,
        lora=LoRA(rank=rank, alpha=10 * rank),
    )
    policy = load_policy(config, model)
    policy.freeze_reference()
    policy.tokenizer.eos_token_ids = set()
    return policy, config


def facts_as_run(model: str) -> "ModelFacts":
    """Facts of a model directory as it is computed with: in float32 on a CPU, however it is stored."""
    import mlx.core as mx

    from grpo.model.facts import facts_of_directory

    facts = facts_of_directory(Path(model))
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    return replace(facts, stored_item_bytes=4) if on_cpu and not facts.quantised else facts


def random_prompts(lengths: Sequence[int], vocab: int, *, seed: int = 0) -> "list[Prompt]":
    """Prompts of random tokens: speed does not depend on which, and every model has some."""
    import numpy as np

    from envs import Task
    from grpo.types import Prompt

    rng = np.random.default_rng(seed)
    low = min(20, vocab // 2)  # special tokens have the first ids
    return [Prompt(Task("speed", ""), tuple(rng.integers(low, vocab, length).tolist()), "") for length in lengths]
