"""`grpo COMMAND ...`, the same commands as `python -m`: each is run as the module the table names."""

import runpy
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

DISTRIBUTION = "grpo-mlx"
COMMANDS = {
    "train": ("grpo.train", "GRPO from a config to a trained adapter; without arguments the quickstart"),
    "doctor": ("grpo.doctor", "check machine, data and model before a run; doctor RUN: what is wrong with a run"),
    "evaluate": ("grpo.evaluate", "a run, an adapter or a bare model on held-out tasks"),
    "report": ("grpo.report", "one HTML page of one or several runs"),
    "watch": ("grpo.watch", "the same page live, with every completion"),
    "sft": ("distill.sft", "supervised fine-tuning"),
    "rejection": ("distill.rejection", "sample, filter, write an SFT corpus"),
    "student": ("distill.student", "a corpus or a live teacher into a LoRA student"),
    "pipeline": ("distill.pipeline", "the stages of R1 in order"),
    "serve": ("grpo.serve", "a run's model behind an OpenAI-compatible server"),
    "export": ("distill.export", "fuse, quantise, GGUF, push"),
    "bench": ("benchmarks", "bench NAME: aime, math500, gsm8k, ...; without NAME a list"),
    "score": ("rewards.score", "the rewards of completions in a file"),
    "audit": ("rewards.audit", "put a reward to labelled cases"),
    "envs": ("envs", "list the environments, show their tasks"),
}


def usage() -> str:
    """Return one line for every command."""
    lines = [f"  {name:10} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(["usage: grpo COMMAND [arguments]   (grpo COMMAND --help says more; grpo --version)\n", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 2 if there is none of that name, otherwise the command's own exit code."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        print(version(DISTRIBUTION))
        return 0
    if command not in COMMANDS:
        print(f"error: grpo has no command {command!r}; it has {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = COMMANDS[command][0]
    if command == "bench" and rest and not rest[0].startswith("-"):
        return _bench(rest[0].split(","), rest[1:])
    return _run(module, f"grpo {command}", rest)


def _bench(names: Sequence[str], rest: list[str]) -> int:
    """Run benchmarks one after the other, several in folders of their own in --output; the first failure ends."""
    for name in names:
        if not name.isidentifier() or find_spec(f"benchmarks.{name}") is None:
            print(f"error: there is no benchmark {name!r}; `grpo bench` lists them", file=sys.stderr)
            return 2
    if len(names) == 1:
        return _run(f"benchmarks.{names[0]}", f"grpo bench {names[0]}", rest)
    if "--output" not in rest[:-1]:
        print("error: several benchmarks need --output DIR: each gets a folder in it", file=sys.stderr)
        return 2
    place = rest.index("--output") + 1
    for name in names:
        arguments = [*rest[:place], f"{rest[place]}/{name}", *rest[place + 1 :]]
        code = _run(f"benchmarks.{name}", f"grpo bench {name}", arguments)
        if code != 0:
            return code
    return 0


def _run(module: str, name: str, arguments: list[str]) -> int:
    """Run a command's module as `python -m` does; its exit code."""
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
