"""TRL's `environment_factory`: a class with `reset(**columns)` whose public methods are tools.

Or a dict of several by name, of which a row's column `environment` chooses one. A class may own its reward, as
`get_reward()`, and its data: without rows every task is what `reset` returns.
"""

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply
from envs.tools.conversation import ToolConversation
from envs.tools.functions import FunctionTool

NOT_TOOLS = frozenset({"reset", "close", "get_reward"})
CHOICE = "environment"  # the column that names one of several factories
Factory = Callable[[], Any] | Mapping[str, Callable[[], Any]]


class FactoryEnv(Env):
    """An environment's tasks, each rollout with an object of its own, made by `factory` and reset with the columns.

    What `reset` returns is put at the end of the task's prompt, so it has to be the same for all rollouts of a task.
    The object of each rollout reaches the rewards as TRL's do, in the column `environments`.
    """

    def __init__(self, env: Env, factory: Factory) -> None:
        super().__init__(env.name, {}, reward_names=env.reward_names, skipped=env.skipped, notes=env.notes)
        self.factory = factory
        self.splits = {split: [self._observed(task) for task in tasks] for split, tasks in env.splits.items()}

    def converse(self, task: Task) -> Conversation:
        """A conversation with an object of its own, reset when it is first asked."""
        return FactoryConversation(self.factory_of(task), task)

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

    def _observed(self, task: Task) -> Task:
        make = self.factory_of(task)
        try:
            said = make().reset(**_columns(task))
        except Exception as error:  # the boundary: the user's class may fail in any way
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise DataError(f"environment_factory: reset failed on task {task.id}: {text}") from error
        if said is None:
            return task
        if isinstance(task.prompt, str):
            return Task(task.id, f"{task.prompt}{said}", task.columns)
        *before, last = task.prompt
        return Task(task.id, [*before, {**last, "content": f"{last['content']}{said}"}], task.columns)


class FactoryConversation(ToolConversation):
    """One rollout's object and its public methods."""

    def __init__(self, factory: Callable[[], Any], task: Task) -> None:
        self.environment, self._task = factory(), task
        self._reset = threading.Lock()
        self._fresh = True
        names = [name for name in dir(self.environment) if not name.startswith("_") and name not in NOT_TOOLS]
        methods = [getattr(self.environment, name) for name in names]
        super().__init__([FunctionTool(method) for method in methods if inspect.ismethod(method)])

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
        close = getattr(self.environment, "close", None)
        if callable(close):
            close()


def _columns(task: Task) -> dict[str, Any]:
    """The columns of a row as TRL gives them to `reset`, its prompt among them and the choice of a factory not."""
    prompt: Any = task.prompt if not isinstance(task.prompt, str) else [{"role": "user", "content": task.prompt}]
    return {"prompt": prompt, **{name: value for name, value in task.columns.items() if name != CHOICE}}


class OwnedReward:
    """What environments of a class say they are worth, by `get_reward`; None where another environment played."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind: type[Any] = kind
        self.__name__ = kind.__name__

    def __call__(
        self, prompts: Any = None, completions: Sequence[Any] = (), environments: Any = None, **columns: Any
    ) -> list[float | None]:
        """One value a completion."""
        made = environments if environments is not None else [None] * len(completions)
        return [float(one.get_reward()) if isinstance(one, self.kind) else None for one in made]


def owned_rewards(factory: Factory | None) -> list[OwnedReward]:
    """Return a reward for each class of the factories that has `get_reward`."""
    factories = factory.values() if isinstance(factory, Mapping) else [factory]
    kinds = dict.fromkeys(one if isinstance(one, type) else type(one()) for one in factories if one is not None)
    return [OwnedReward(kind) for kind in kinds if callable(getattr(kind, "get_reward", None))]


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
    """The environment with TRL's `tools` or `environment_factory`; as it is with neither."""
    from envs.tools.conversation import ToolEnv

    if tools and factory is not None:
        raise DataError("tools and environment_factory can't be combined: add the tools to the class as methods")
    if factory is not None:
        return FactoryEnv(env, factory)
    return ToolEnv(env, list(tools)) if tools else env
