"""Data sets from Python as environments: rows, Envs, names, and dicts of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import envs
from envs.registry import call
from grpo.config.sections import ConfigError
from grpo.opening import IN_MEMORY

HELD_OUT = ("test", "validation")


@dataclass(frozen=True)
class Data:
    """The data a run is trained and evaluated on."""

    env: envs.Env
    name: str  # for the config: what `data=` takes, or IN_MEMORY and what it was
    held_out: tuple[tuple[str, Sequence[envs.Task]], ...] = ()  # name of the set, "" for one without, and its tasks
    notes: tuple[str, ...] = ()


def read(train: Any, held_out: Any, seed: int, options: Mapping[str, Any] | None = None) -> Data:
    """Read the two arguments of a trainer; `options` are data_options, for both.

    ConfigError or envs.DataError, one line, for what is no data set.
    """
    options = {"seed": seed, **(options or {})}
    if train is None:
        raise ConfigError("train_dataset is missing: rows with a prompt, an Env, or a string as for data=")
    notes: list[str] = []
    if isinstance(train, str):
        env, name = envs.make(train, needs_answer=False, **options), train
    elif isinstance(train, envs.Env):
        if options.keys() - {"seed", "in_order"}:
            raise ConfigError("data_options are for rows or a name; train_dataset is an Env, which has its own ways")
        env, name = train, f"{IN_MEMORY}{train.name}"
    else:
        if isinstance(train, Mapping):
            train, held_out, note = _splits(train, held_out)
            notes.append(note)
        env = _from_rows(train, "train_dataset", options)
        name = f"{IN_MEMORY}train_dataset, {len(env.tasks('train'))} rows"
    if held_out is None:
        own = env.splits.get("test") or ()
        return Data(env, name, (("", own),) if own else (), tuple(notes))
    made = _held_out_envs(held_out, seed, options)
    sets = tuple((name, one.splits.get("test") or one.tasks("train")) for name, one in made)
    env.skipped += [line for _, one in made if one is not env for line in one.skipped]
    if len(sets) > 1:
        notes.append("the sets of eval_dataset are evaluated together while training; evaluate() takes them one by one")
    # from each in turn, so that the first eval_tasks of them are of all sets
    turns = zip_longest(*(tasks for _, tasks in sets))
    env.splits["test"] = [task for turn in turns for task in turn if task is not None]
    return Data(env, name, sets, tuple(notes))


def held_out_tasks(
    held_out: Any, seed: int, options: Mapping[str, Any] | None = None
) -> tuple[tuple[str, Sequence[envs.Task]], ...]:
    """The tasks of an eval_dataset, by set if it is a dict of several."""
    made = _held_out_envs(held_out, seed, options or {})
    return tuple((name, env.splits.get("test") or env.tasks("train")) for name, env in made)


def _held_out_envs(held_out: Any, seed: int, options: Mapping[str, Any]) -> list[tuple[str, envs.Env]]:
    if isinstance(held_out, envs.Env):
        return [("", held_out)]
    options = {"seed": seed, **options}
    sets = held_out if isinstance(held_out, Mapping) else {"": held_out}
    return [
        (
            str(name),
            envs.make(rows, needs_answer=False, **options)
            if isinstance(rows, str)
            else _from_rows(rows, str(name) or "eval_dataset", {**options, "test_size": 0}),
        )
        for name, rows in sets.items()
    ]


def _from_rows(rows: Any, name: str, options: Mapping[str, Any]) -> envs.Env:
    return call(name, "envs.data:from_rows", {"rows": _rows(rows, name), "name": name, **options})


def _splits(train: Mapping[str, Any], held_out: Any) -> tuple[Any, Any, str]:
    """A DatasetDict as the training data: its train split, and its test or validation split held out."""
    if "train" not in train:
        raise ConfigError(f"train_dataset is a dict of {', '.join(map(str, train))}, without a 'train' split")
    other = next((name for name in HELD_OUT if name in train), None)
    if held_out is None and other is not None:
        return train["train"], train[other], f"of the dict's splits train is trained on and {other} held out"
    return train["train"], held_out, "of the dict's splits train is trained on"


def _rows(given: Any, name: str) -> Any:
    """Rows, called for if they are a function or method."""
    rows = given() if callable(given) and not hasattr(given, "__iter__") else given
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise ConfigError(f"{name} must be rows with a prompt or an Env, got {type(rows).__name__}")
    return rows
