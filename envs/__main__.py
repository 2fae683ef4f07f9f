"""`python -m envs list`, `show NAME [-n 3] [a=b ...]` and `play NAME`: what there is, what a task looks like."""

import argparse
import json
import shlex
import sys
from typing import Any

from envs.base import DataError
from envs.play import play, shown_prompt, tool_lines, turn_lines
from envs.registry import available, make, options_of
from rewards.printable import say


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; 2 if what was asked for does not exist."""
    options = _parsed(arguments)
    try:
        if options.command == "list":
            _list(options.family)
        elif options.command == "play":
            play(make(options.name, **_overrides(options.option)), options.task, sys.stdin)
        else:
            _show(options.name, options.option, options.n)
    except DataError as problem:
        say(f"error: {problem}", sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, a pager or head, has seen enough
        sys.stderr.close()
    return 0


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The arguments; options of the environment may stand before and after -n, which argparse alone does not take."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.command == "list" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.option = [*options.option, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m envs", description="Environments: where tasks come from.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="every environment with one line on it")
    listing.add_argument("family", nargs="?", choices=["reasoning_gym"], help="list the tasks of this family instead")
    show = commands.add_parser("show", help="sizes, rewards and first tasks of an environment")
    show.add_argument("name", metavar="NAME", help="environment, JSONL file or hub data set id")
    show.add_argument("-n", type=int, default=3, help="how many tasks (default 3)")
    show.add_argument("option", metavar="a=b", nargs="*", help="options of the environment, values as in YAML")
    seat = commands.add_parser("play", help="take the model's seat in an environment that answers")
    seat.add_argument("name", metavar="NAME", help="environment, or your own as module:function")
    seat.add_argument("--task", type=int, default=0, help="which task of the training split (default 0)")
    seat.add_argument("option", metavar="a=b", nargs="*", help="options of the environment, values as in YAML")
    return parser


def _list(family: str | None) -> None:
    if family is not None:
        from envs.reasoning_gym import task_names

        say("\n".join(f"{family}:{task}" for task in task_names()))
        return
    for name, summary in available().items():
        say(f"{name:20} {summary}")
    say(f"{'FILE.jsonl':20} rows with prompt | question | problem | messages and answer; .json, .parquet, .csv too")
    say(f"{'OWNER/NAME':20} a hub data set (options config, split, revision, prompt_column, answer_column, ...)")
    say("Tasks of reasoning_gym: python -m envs list reasoning_gym")


def _show(name: str, words: list[str], count: int) -> None:
    options = _overrides(words)
    env = make(name, **options)
    counts, *left_out = env.report()
    say(f"{env.name}: {counts}; rewards {', '.join(env.reward_names) or 'of your own'}")
    say(
        "options: "
        + ", ".join(f"{option}={json.dumps(value)}" for option, value in options_of(name, **options).items())
    )
    if env.converses:
        say(f"it answers: a conversation of several turns (python -m envs play {shlex.join([name, *words])})")
    for line in left_out:
        say(line)
    for place, task in enumerate(env.tasks("train")[: max(count, 0)]):
        say(f"\n[{task.id}]\n{shown_prompt(task)}")
        talk = env.converse(task) if env.converses else None
        for line in tool_lines(talk.tools if talk is not None else ()):
            say(line)
        for name, value in task.columns.items():
            say(f"  {name}: {_short(value)}")
        for line in turn_lines(talk, task) if talk is not None and place == 0 else ():
            say(line)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _overrides(pairs: list[str]) -> dict[str, Any]:
    import yaml

    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise DataError(f"{pair!r} is no option: write name=value")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            options[name] = value
    return options


if __name__ == "__main__":
    sys.exit(main())
