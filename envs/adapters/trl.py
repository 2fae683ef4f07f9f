"""TRL's `environment_factory`: a class with `reset(**columns)` whose public methods are tools."""

import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any

from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply
from envs.tools.conversation import ToolConversation
from envs.tools.functions import FunctionTool

NOT_TOOLS = frozenset({"reset", "close"})


class FactoryEnv(Env):
    """An environment's tasks, each rollout with an object of its own, made by `factory` and reset with the columns.

    What `reset` returns is put at the end of the task's prompt, so it has to be the same for all rollouts of a task.
    The object of each rollout reaches the rewards as TRL's do, in the column `environments`.
    """

    def __init__(self, env: Env, factory: Callable[[], Any]) -> None:
        super().__init__(env.name, {}, reward_names=env.reward_names, skipped=env.skipped, notes=env.notes)
        self.factory = factory
        self.splits = {split: [self._observed(task) for task in tasks] for split, tasks in env.splits.items()}

    def converse(self, task: Task) -> Conversation:
        """A conversation with an object of its own, reset when it is first asked."""
        return FactoryConversation(self.factory, task)

    def _observed(self, task: Task) -> Task:
        try:
            said = self.factory().reset(**_columns(task))
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
    """The columns of a row as TRL gives them to `reset`, its prompt among them."""
    prompt: Any = task.prompt if not isinstance(task.prompt, str) else [{"role": "user", "content": task.prompt}]
    return {"prompt": prompt, **task.columns}


def with_tools(env: Env, tools: Sequence[Callable[..., Any]], factory: Callable[[], Any] | None) -> Env:
    """The environment with TRL's `tools` or `environment_factory`; as it is with neither."""
    from envs.tools.conversation import ToolEnv

    if tools and factory is not None:
        raise DataError("tools and environment_factory can't be combined: add the tools to the class as methods")
    if factory is not None:
        return FactoryEnv(env, factory)
    return ToolEnv(env, list(tools)) if tools else env
