"""TRL's `environment_factory`: a class with `reset(**columns)` whose public methods are tools.

Or a dict of several by name, of which a row's column `environment` chooses one. A class may own its reward, as
`get_reward()`, and its data: without rows, or for rows without a prompt, the task is what `reset` returns.
"""

import inspect
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply
from envs.messages import content_text
from envs.rows import PROMPT_COLUMNS
from envs.tools.conversation import ToolConversation, ToolEnv
from envs.tools.functions import tools_of

NOT_TOOLS = frozenset({"reset", "close", "get_reward"})
CHOICE = "environment"  # the column that names one of several factories
Factory = Callable[[], Any] | Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class ObservedTask(Task):
    """A task with what `reset` returned at the end of its prompt, and the task as it was before."""

    given: Task | None = None


class FactoryEnv(Env):
    """An environment's tasks, each rollout with an object of its own, made by `factory` and reset with the columns.

    What `reset` returns is put at the end of the task's prompt, so it has to be the same for all rollouts of a task.
    The object of each rollout reaches the rewards as TRL's do, in the column `environments`. `tools` are functions
    beside its methods, the same for every rollout.
    """

    def __init__(self, env: Env, factory: Factory, tools: Sequence[Callable[..., Any]] = ()) -> None:
        super().__init__(env.name, {}, reward_names=env.reward_names, skipped=env.skipped, notes=env.notes)
        self.factory, self.tools = factory, tools_of(tools)
        self.splits = {split: self.observed(tasks) for split, tasks in env.splits.items()}

    def converse(self, task: Task) -> Conversation:
        """A conversation with an object of its own, reset when it is first asked."""
        given = task.given if isinstance(task, ObservedTask) and task.given is not None else task
        return FactoryConversation(self.factory_of(task), given, self.tools)

    def observed(self, tasks: Iterable[Task]) -> list[Task]:
        """Return the tasks with what `reset` returns at the end of their prompts."""
        made: dict[int, Any] = {}  # one object of each factory is asked
        found = [self._observed(task, made) for task in tasks]
        for one in made.values():
            _close(one)
        return found

    def factory_of(self, task: Task) -> Callable[[], Any]:
        """Return what makes the objects of a task; DataError where its row names none of them."""
        if not isinstance(self.factory, Mapping):
            return self.factory
        name = str(task.columns.get(CHOICE))
        if name not in self.factory:
            raise DataError(
                f"task {task.id}: its {CHOICE} {name!r} is not among the environments {', '.join(self.factory)}"
            )
        return self.factory[name]

    def _observed(self, task: Task, made: dict[int, Any]) -> Task:
        factory = self.factory_of(task)
        try:
            if id(factory) not in made:
                made[id(factory)] = factory()
            said = made[id(factory)].reset(**_columns(task))
            said = said if said is None else content_text(said, "what reset returns")
        except Exception as error:  # the boundary: the user's class may fail in any way
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise DataError(f"environment_factory: reset failed on task {task.id}: {text}") from error
        if not said and not task.prompt:
            raise DataError(f"environment_factory: reset() must return the prompt of task {task.id}, which has none")
        if said is None:
            return task
        if isinstance(task.prompt, str):
            return ObservedTask(task.id, f"{task.prompt}{said}", task.columns, task)
        *before, last = task.prompt
        return ObservedTask(task.id, [*before, {**last, "content": f"{last['content']}{said}"}], task.columns, task)


class FactoryConversation(ToolConversation):
    """One rollout's object and its public methods."""

    def __init__(self, factory: Callable[[], Any], task: Task, tools: Sequence[Any] = ()) -> None:
        self.environment, self._task = factory(), task
        self._reset = threading.Lock()
        self._fresh = True
        # of the class: a property of the object would be evaluated
        names = [name for name, _ in inspect.getmembers(type(self.environment), inspect.isfunction)]
        names = [name for name in names if not name.startswith("_") and name not in NOT_TOOLS]
        super().__init__([*tools, *(getattr(self.environment, name) for name in names)])

    def reply(self, message: Message) -> Reply:
        """Run the message's calls; the object is reset also if there are none, for the rewards."""
        self.begin()
        return super().reply(message)

    def begin(self) -> None:
        """Reset the object, once."""
        with self._reset:
            if self._fresh:
                self.environment.reset(**_columns(self._task))
                self._fresh = False

    def close(self) -> None:
        """Close the object if it can be."""
        _close(self.environment)


def _close(environment: Any) -> None:
    close = getattr(environment, "close", None)
    if callable(close):
        close()


def _columns(task: Task) -> dict[str, Any]:
    """The columns of a row as TRL gives them to `reset`: its prompt if it has one, and the choice of a factory not."""
    columns = {name: value for name, value in task.columns.items() if name != CHOICE}
    if not task.prompt:
        return columns
    prompt: Any = task.prompt if not isinstance(task.prompt, str) else [{"role": "user", "content": task.prompt}]
    return {"prompt": prompt, **columns}


class OwnedReward:
    """What environments of a class say they are worth, by `get_reward`; None where another environment played."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind: type[Any] = kind
        self.__name__ = kind.__name__

    def __call__(self, prompts: Any = None, completions: Sequence[Any] = (), environments: Any = None, **_: Any) -> Any:
        """Return one value a completion, or an awaitable of them where `get_reward` is async."""
        made: Sequence[Any] = environments if environments is not None else [None] * len(completions)
        values = [one.get_reward() if type(one) is self.kind else None for one in made]
        return _all(values) if any(inspect.isawaitable(value) for value in values) else _floats(values)


def _floats(values: Iterable[Any]) -> list[float | None]:
    return [None if value is None else float(value) for value in values]


async def _all(values: Sequence[Any]) -> list[float | None]:
    return _floats([await value if inspect.isawaitable(value) else value for value in values])


def owned_rewards(factory: Factory | None) -> list[OwnedReward]:
    """Return a reward for each class of the factories that has `get_reward`."""
    factories = factory.values() if isinstance(factory, Mapping) else [factory]
    kinds = dict.fromkeys(one if isinstance(one, type) else type(one()) for one in factories if one is not None)
    return [OwnedReward(kind) for kind in kinds if callable(getattr(kind, "get_reward", None))]


def opened_by_reset(rows: Any) -> Any:
    """Return the rows of a data set, those without a prompt as tasks with an empty one, which `reset` fills.

    A name, an Env or a function stays as it is.
    """
    if isinstance(rows, Mapping):
        return {split: opened_by_reset(part) for split, part in rows.items()}
    if isinstance(rows, str | Env) or not hasattr(rows, "__len__"):
        return rows
    return [_opened(row, number) for number, row in enumerate(rows, start=1)]


def _opened(row: Any, number: int) -> Any:
    if not isinstance(row, Mapping) or any(row.get(name) is not None for name in PROMPT_COLUMNS):
        return row
    return Task(str(number), "", dict(row))


def owned_env(factory: Factory, count: int) -> Env:
    """Return `count` tasks of an environment that owns its data, for `with_tools`, which puts in what `reset` returns.

    DataError where that is no prompt to train on.
    """
    if isinstance(factory, Mapping):
        raise DataError(f"several environments need a train_dataset with a column {CHOICE!r} that chooses one")
    try:
        said = [factory().reset() for _ in range(2)]
    except Exception as error:  # the boundary: the user's class may fail in any way
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(f"environment_factory without train_dataset: reset() failed: {text}") from error
    if not all(isinstance(text, str) and text for text in said):
        raise DataError("environment_factory without train_dataset: reset() must return the prompt, got no text")
    if said[0] != said[1]:
        raise DataError(
            "environment_factory without train_dataset: reset() returned two different prompts, and the rollouts of a "
            "group need one; give a train_dataset whose columns, such as a seed, tell reset what to return"
        )
    name = getattr(factory, "__name__", type(factory).__name__)
    return Env(name, {"train": [Task(f"{name}:{number}", "", {}) for number in range(1, count + 1)]})


def with_tools(env: Env, tools: Sequence[Callable[..., Any]], factory: Factory | None) -> Env:
    """Return the environment with TRL's `tools` and `environment_factory`, or as it is with neither."""
    if factory is not None:
        return FactoryEnv(env, factory, tools)
    return ToolEnv(env, list(tools)) if tools else env
