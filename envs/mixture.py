"""Several environments in one run, each with its share of the tasks."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from envs.base import DataError, Env, Task
from envs.conversation import Conversation

MOST_REPEATS = 10  # how often a task may stand in the mixture so that a larger environment has its share too
ENVIRONMENT = "environment"  # the column that names a task's environment


class Mixture(Env):
    """Environments by name with weights: of the tasks in training each has its share, repeated if it has too few.

    The column `environment` says where a task is from; metrics are kept by it.
    """

    def __init__(self, parts: Sequence[tuple[Env, float]], *, seed: int = 0) -> None:
        names = [env.name for env, _ in parts]
        if len(set(names)) < len(names):
            raise DataError(f"environments of a mixture need different names, got {', '.join(names)}")
        self.parts = {env.name: env for env, _ in parts}
        weights = {env.name: weight for env, weight in parts}
        splits = {split: self._mixed(split, weights, seed) for split in ("train", "test")}
        super().__init__(
            " + ".join(names),
            splits,
            reward_names=list(dict.fromkeys(name for env, _ in parts for name in env.reward_names)),
            skipped=[f"{env.name}: {line}" for env, _ in parts for line in env.skipped],
            notes=[f"{env.name}: {line}" for env, _ in parts for line in env.notes],
        )

    def converse(self, task: Task) -> Conversation | None:
        """The conversation of the task's own environment."""
        return self.parts[task.columns[ENVIRONMENT]].converse(task)

    @property
    def converses(self) -> bool:
        """Return whether any part has tasks of several turns."""
        return any(env.converses for env in self.parts.values())

    def _mixed(self, split: str, weights: Mapping[str, float], seed: int) -> list[Task]:
        tasks = {name: list(env.splits.get(split, ())) for name, env in self.parts.items()}
        present = {name: weights[name] for name in tasks if tasks[name]}
        if not present:
            return []
        total = sum(present.values())
        wanted = max(len(tasks[name]) / present[name] for name in present) * total
        wanted = min(wanted, MOST_REPEATS * min(len(tasks[name]) / present[name] for name in present) * total)
        mixed = []
        for name, weight in present.items():
            count = max(1, round(wanted * weight / total))
            named = [_named(task, name) for task in tasks[name]]
            mixed += [named[place % len(named)] for place in range(count)]
        random.Random(f"mixture {split}:{seed}").shuffle(mixed)
        return mixed


def mixture(parts: Sequence[Mapping[str, Any]], *, seed: int = 0, **common: Any) -> Mixture:
    """Make a mixture of [{"env": name, "weight": 1.0, "options": {...}}, ...]; `common` options go to all."""
    from envs.registry import make

    made = []
    for part in parts:
        name = part.get("env")
        if not isinstance(name, str):
            raise DataError(f"every part of a mixture names its env, got {dict(part)}")
        weight = part.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise DataError(f"data {name}: weight must be a number above 0, got {weight!r}")
        unknown = sorted(set(part) - {"env", "weight", "options"})
        if unknown:
            raise DataError(f"data {name}: a part has env, weight and options, not {unknown[0]}")
        made.append((make(name, seed=seed, **{**common, **part.get("options", {})}), float(weight)))
    return Mixture(made, seed=seed)


def _named(task: Task, name: str) -> Task:
    return Task(f"{name}/{task.id}", task.prompt, {**task.columns, ENVIRONMENT: name})
