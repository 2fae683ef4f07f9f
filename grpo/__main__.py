"""`grpo COMMAND ...`, the same commands as `python -m`: each is run as the module the table names."""

import runpy
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

DISTRIBUTION = "grpo-mlx"
COMMANDS = {
    "train": ("grpo.train", "GRPO from a config to a trained adapter; without arguments the quickstart"),
    "doctor": ("grpo.doctor", "check machine, data, model and rewards before a run"),
    "report": ("grpo.report", "one HTML page of one or several runs"),
    "sft": ("distill.sft", "supervised fine-tuning"),
    "rejection": ("distill.rejection", "sample, filter, write an SFT corpus"),
    "student": ("distill.student", "a corpus or a live teacher into a LoRA student"),
    "pipeline": ("distill.pipeline", "the stages of R1 in order"),
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
        name, *rest = rest
        module = f"benchmarks.{name}"
        if not name.isidentifier() or find_spec(module) is None:
            print(f"error: there is no benchmark {name!r}; `grpo bench` lists them", file=sys.stderr)
            return 2
    sys.argv = [f"grpo {command}", *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
