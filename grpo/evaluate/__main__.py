"""`python -m grpo.evaluate`: what a run, an adapter or a bare model does on tasks it was not trained on.

  python -m grpo.evaluate runs/mine                             its own held-out tasks and rewards
  python -m grpo.evaluate runs/mine --data other.jsonl          every row of another file
  python -m grpo.evaluate --model DIR --adapter runs/mine --data gsm8k --reward accuracy --samples 4
  python -m grpo.evaluate --server http://127.0.0.1:8080/v1 --model NAME --data other.jsonl

Writes completions.jsonl and results.json with 95% intervals over tasks. The same seed gives the same completions; one
that is stopped goes on when the command is given again with the same --output.
"""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo.config import Config
from grpo.config.layers import COMMAND_LINE, Layer, stack
from grpo.config.parsing import read_yaml
from grpo.config.reference import describe
from grpo.config.sections import ConfigError
from grpo.runs.command import CONFIG_FILE, guarded, refuse
from grpo.runs.ordinary import require_ordinary
from rewards.printable import say

ADAPTER_CONFIG = "adapter_config.json"
# what a supervised run's config has in common with an RL run's
MODEL_KEYS = ("model", "revision", "dtype", "seed", "template", "system_prompt", "chat_template_kwargs")
FLAGS = {  # flag -> (key, type, meaning)
    "data": ("data", str, "file, environment or hub data set; without it the run's own held-out tasks"),
    "samples": ("eval_samples", int, "completions of each task"),
    "limit": ("eval_tasks", int, "only the first N tasks"),
    "temperature": ("eval_temperature", float, "of sampling"),
    "top_p": ("eval_top_p", float, "after the temperature"),
    "max_tokens": ("max_completion_length", int, "of a completion"),
    "seed": ("seed", int, "of sampling, and of the order of tasks"),
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m grpo.evaluate",
        description=__doc__,
        epilog=describe(Config),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help="hub id or local MLX directory, where there is no run")
    parser.add_argument("--server", metavar="URL", help="OpenAI-compatible server that is asked; --model is its name "
                        "there, the key is read from SERVER_API_KEY")  # fmt: skip
    parser.add_argument("--adapter", help="directory of adapters (LoRA, DoRA or full weights of a run)")
    parser.add_argument("--reward", action="append", metavar="NAME", help="instead of the run's; may be repeated")
    for name, (_, kind, meaning) in FLAGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=meaning)
    parser.add_argument("--output", type=Path, help="directory; without it one in the run's, or under runs/")
    parser.add_argument("--dry-run", action="store_true", help="check the settings and what they name; run nothing")
    parser.add_argument("words", nargs="*", metavar="RUN key=value", help="a run directory, and config keys")
    return parser.parse_intermixed_args(arguments)


@dataclass(frozen=True)
class Settled:
    """Return the subject that the command line names."""

    config: Config
    run: Path | None = None
    adapter: str | None = None
    server: str | None = None
    every_row: bool = False  # of the data: a file named for this evaluation


def settle(options: argparse.Namespace) -> Settled:
    """Return what the command line asks for; ConfigError, one line, where it can't be."""
    overrides = [word for word in options.words if "=" in word]
    named = [word for word in options.words if "=" not in word]
    if len(named) + (options.model is not None) != 1:
        raise ConfigError("what is to be evaluated? Name a run directory, or a model with --model (one of them)")
    if options.server is not None and (named or options.adapter is not None):
        raise ConfigError("with --server the server has the model: give --model NAME, its name there, and --data")
    if not named:
        if options.data is None and not any(word.startswith("data=") for word in overrides):
            raise ConfigError("on what? A bare model has no tasks of its own: name some with --data")
        layers = [Layer(COMMAND_LINE, {"model": options.model})]
        config = stack(Config, [*layers, _flags(options, {})], overrides).config
        return Settled(config, None, options.adapter, options.server, _is_file(config.data))
    run = Path(named[0])
    require_ordinary(run)
    recorded = _recorded(run, with_data=options.data is not None)
    config = stack(Config, [recorded, _flags(options, recorded.tree)], overrides).config
    other = config.data != recorded.tree.get("data")  # of its own file the run was trained on most rows
    return Settled(config, run, str(run), None, other and _is_file(config.data))


def _is_file(data: object) -> bool:
    return isinstance(data, str) and Path(data).exists()


def _recorded(run: Path, *, with_data: bool) -> Layer:
    """The config of a run directory, as far as it says how the model is asked and judged."""
    path = run / CONFIG_FILE
    if not path.exists() and (run / ADAPTER_CONFIG).exists():
        raise ConfigError(
            f"{run} holds an adapter and no run: add --model MODEL --adapter {run}, without the bare name"
        )
    if not path.exists():
        raise ConfigError(f"{run} is no run directory: it has no {CONFIG_FILE}")
    if not (run / ADAPTER_CONFIG).exists():
        raise ConfigError(f"{run} has no adapter yet: it was stopped before its first checkpoint")
    tree = read_yaml(path)
    if "examples_per_step" in tree:  # of distill.sft: its data is what it was trained on
        if not with_data:
            raise ConfigError(f"{run} is a supervised run, which has no held-out tasks: name some with --data")
        tree = {key: tree[key] for key in MODEL_KEYS if key in tree}
    return Layer(str(path), tree)


def _flags(options: argparse.Namespace, recorded: Any) -> Layer:
    given = {key: getattr(options, name) for name, (key, _, _) in FLAGS.items()}
    tree: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if "data" in tree:
        tree["data_options"] = {}  # the run's are of its own data
    if options.reward:
        tree |= {"reward_weights": dict.fromkeys(options.reward, 1.0), "reward_gates": {}, "reward_clip": {}}
        known = recorded.get("reward_options") or {}
        tree["reward_options"] = {name: known[name] for name in options.reward if name in known}
    if (rows := options.samples) and rows > recorded.get("max_rows", Config.model_fields["max_rows"].default):
        tree["max_rows"] = rows
    return Layer(COMMAND_LINE, tree)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong, 130 / 143 interrupted after saving."""
    options = parse(arguments)
    try:
        settled = settle(options)
        output = options.output or _free((settled.run or Path("runs")) / "evaluation")
        require_ordinary(output)
    except ConfigError as error:
        return refuse(error)

    words = [word for word in (sys.argv[1:] if arguments is None else arguments) if word != "--dry-run"]
    if options.dry_run:
        return _dry_run(settled, output, words)

    def work() -> None:
        _evaluate(settled, output)

    go_on = shlex.join([*words, *([] if options.output else ["--output", str(output)])])
    return guarded(work, go_on=f"python -m grpo.evaluate {go_on}", over_ranks=True)


def _dry_run(settled: Settled, output: Path, words: Sequence[str]) -> int:
    from grpo.cpu.blas import load_blas

    load_blas()  # before anything imports mlx
    from grpo.evaluate.dry_run import dry_run
    from grpo.evaluate.run import Wish

    wish = Wish(settled.config, settled.run or output, settled.adapter, settled.server, settled.every_row)
    return dry_run(wish, output, f"python -m grpo.evaluate {shlex.join(words)}")


def _free(path: Path) -> Path:
    candidates = [path, *(path.with_name(f"{path.name}-{n}") for n in range(2, 1000))]
    return next(candidate for candidate in candidates if not candidate.exists())


def _evaluate(settled: Settled, output: Path) -> None:
    from grpo.evaluate.run import Wish, run_evaluation
    from grpo.ranks.session import joined
    from grpo.runs import checkpoint
    from grpo.runs.interrupt import StopFlag

    with StopFlag() as stop, joined(stop, {"command": "grpo.evaluate"}) as ranks:
        ranks.require_same({**settled.config.model_dump(mode="json"), "adapter": settled.adapter})
        output = Path(ranks.from_first(lambda: str(output)))
        command = f"python -m grpo.evaluate {shlex.join(sys.argv[1:])}"
        home = settled.run or output
        wish = Wish(settled.config, home, settled.adapter, settled.server, settled.every_row, command)
        with checkpoint.lock(output) if ranks.writes else contextlib.nullcontext():
            found = run_evaluation(wish, output, say, stop)
    if not found:
        return  # rank 0 has the figures
    sizes = f"{found['tasks']} tasks x {found['samples']} samples"
    say(f"{sizes}, length {found['mean_length']:.0f}, cut {found['truncated']:.0%}")
    for name, figure in found["figures"].items():
        ends = "" if figure["low"] is None else f"  ({figure['low']:.3f} to {figure['high']:.3f})"
        missing = f"  {figure['missing']} without a value" if figure["missing"] else ""
        say(f"  {name} {figure['mean']:.3f}{ends}{missing}")
    say(f"{output}/results.json   {output}/completions.jsonl")


if __name__ == "__main__":
    sys.exit(main())
