"""Environments of verifiers from 0.4 on, unmodified: tasksets, their tools and rewards, and environments over them.

Each rollout is an episode of the environment's own `run_episode`. Its agent is the library's chat loop, whose model is
the policy; tools, stop conditions, the user's turns and rewards are the library's.
"""

import itertools
import os
import queue
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from verifiers import v1
from verifiers.v1.configs.agent import agent_config_fields
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harnesses.null import NullHarnessConfig

from envs.adapters.verifiers_stage import Asked, Stage, Worth, chatting
from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply
from envs.messages import read_messages
from envs.splits import TestSize, split_tasks

AT_ONCE = 8  # episodes begun together to see how they open
OPENING_SECONDS = 180.0


def load(env_id: str, arguments: Mapping[str, Any]) -> Any:
    """Return the environment of a taskset by the taskset's id; `arguments` are those of its config (`[env]`)."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    taskset = {**(arguments.get("taskset") or {}), "id": env_id}
    return v1.load_environment(v1.resolve_env_config({**arguments, "taskset": taskset}))


class _Shown:
    """A tool as the agent's request shows it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.name, self.schema = str(schema["function"]["name"]), dict(schema)


class TasksetEnv(Env):
    """Tasks are the taskset's; the weighted sum of a task's rewards is the reward `environment`.

    Args:
        environment: a `verifiers.v1.Env`.
        name: how messages name it.
        limit: most tasks of a split; needed where the taskset has no end.
        test_size: a number or share of tasks to hold out, a tenth if not given.
        seed: of the order and of what is held out.
    """

    def __init__(
        self, environment: Any, *, name: str, limit: int | None = None, test_size: TestSize = None, seed: int = 0
    ) -> None:
        if not environment.taskset.bounded and limit is None:
            raise DataError(f"{name}: its taskset has no end: give limit, the number of tasks to read")
        try:
            environment = type(environment)(_seated(environment.config, name))
            self._stage = Stage(chatting(environment))
            found = {
                str(task.data.idx): task for task in itertools.islice(environment.taskset, _read(environment, limit))
            }
        except DataError:
            raise
        except Exception as error:  # the boundary: anybody's environment may fail in any way
            raise DataError(f"{name}: {_one_line(error)}") from error
        self._found = found
        splits, notes = split_tasks(
            [_task(task) for task in found.values()], seed=seed, test_size=test_size, limit=limit
        )
        if not splits["train"]:
            raise DataError(f"{name}: its taskset gives no task to train on")
        super().__init__(name, splits, reward_names=("environment",), notes=notes)
        (first,) = self._openings(splits["train"][:1])
        self._tools = [_Shown(schema) for schema in first.tools]
        if type(environment) is not v1.SingleAgentEnv or any(one.data.prompt is None for one in found.values()):
            self.splits = {split: self._opened(tasks) for split, tasks in splits.items()}

    def converse(self, task: Task) -> Conversation:
        """A conversation that plays an episode of the task."""
        return TasksetConversation(self._stage, self._found[task.id], task, self._tools)

    def _opened(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with the messages that their episodes open with."""
        openings = self._openings(tasks)
        return [
            Task(task.id, _prompt(asked.messages), task.columns) for task, asked in zip(tasks, openings, strict=True)
        ]

    def _openings(self, tasks: Sequence[Task]) -> list[Asked]:
        """What each task's agent asks the model first; the episodes end there."""
        found = []
        for start in range(0, len(tasks), AT_ONCE):
            plays = [self._stage.begin(self._found[task.id]) for task in tasks[start : start + AT_ONCE]]
            try:
                for play in plays:
                    asked = play.hear(OPENING_SECONDS)
                    if isinstance(asked, Worth):
                        raise DataError(f"{self.name}: task {play.task.data.idx} ended before the model was asked")
                    found.append(asked)
            except queue.Empty:
                raise DataError(f"{self.name}: no task began within {OPENING_SECONDS:g} s") from None
            except DataError:
                raise
            except Exception as error:  # the boundary again
                raise DataError(f"{self.name}: an episode failed at its beginning: {_one_line(error)}") from error
            finally:
                for play in plays:
                    play.end()
        return found


class TasksetConversation:
    """One rollout's episode, begun with the model's first message."""

    def __init__(self, stage: Stage, found: Any, task: Task, tools: Sequence[Any]) -> None:
        self.tools = tools
        self._stage, self._found, self._task = stage, found, task
        self._play: Any = None
        self._known = 0  # messages of the last request and its answer

    def reply(self, message: Message) -> Reply:
        """Give the message to the episode; return what its agent hears next, or what it is worth at its end."""
        if self._play is None:
            self._play = self._stage.begin(self._found)
            self._check(self._play.hear())
        self._stage.answer(self._play, message)
        heard = self._play.hear()
        if isinstance(heard, Worth):
            return Reply([], done=True, rewards={"rubric": heard.reward}, info={"metrics": heard.metrics})
        new = heard.messages[self._known :]
        if not new or len(heard.messages) <= self._known:
            raise RuntimeError("the environment rewrote the conversation; only one that grows can be trained on")
        self._known = len(heard.messages) + 1
        return Reply(read_messages(new, "the environment's reply"))

    def close(self) -> None:
        """End an episode that was given up."""
        if self._play is not None:
            self._play.end()

    def _check(self, first: "Asked | Worth") -> None:
        """Raise RuntimeError where the episode opens with other words or tools than the model was shown."""
        if isinstance(first, Worth):
            raise RuntimeError("the episode ended before the model was asked")
        if _prompt(first.messages) != self._task.prompt:
            raise RuntimeError(
                "this episode opened with other messages than the task's, which every rollout must share"
            )
        if [dict(schema) for schema in first.tools] != [tool.schema for tool in self.tools]:
            raise RuntimeError("this episode has other tools than the task was shown with")
        self._known = len(first.messages) + 1


def _seated(config: Any, name: str) -> Any:
    """Return an environment's config with the chat loop in every seat that names no program, run on this machine."""
    default = v1.default_harness_id(config.taskset.id)
    seats = {}
    for role, seat in agent_config_fields(config).items():
        harness = seat.harness.id if seat.harness is not None else default
        if harness != "null" and not (seat.harness is None and harness == "bash"):  # bash: the library's own default
            raise DataError(f"{name}: agent {role} plays with the program {harness!r}; only chat (null) can be trained")
        runtime = seat.runtime if "runtime" in seat.model_fields_set else v1.SubprocessConfig()
        if runtime.type != "subprocess":
            raise DataError(f"{name}: agent {role} runs in {runtime.type}; only runtime type subprocess can be trained")
        seats[role] = seat.model_copy(
            update={"harness": seat.harness or NullHarnessConfig(id="null"), "runtime": runtime}
        )
    return config.model_copy(update=seats)


def _read(environment: Any, limit: int | None) -> int | None:
    """Return how many tasks to read: all of a taskset that ends."""
    return None if environment.taskset.bounded else limit


def _task(found: Any) -> Task:
    """Return a task of the taskset as one of ours; its own fields are columns."""
    data = found.data
    messages = [{"role": "system", "content": data.system_prompt}] if data.system_prompt else []
    if isinstance(data.prompt, str):
        messages.append({"role": "user", "content": data.prompt})
    elif data.prompt:
        messages += [message_to_wire(message) for message in data.prompt]
    else:
        messages.append({"role": "user", "content": f"task {data.idx}"})  # until its episode has opened
    own = data.model_dump(mode="json", exclude=set(v1.TaskData.model_fields), exclude_none=True)
    return Task(str(data.idx), _prompt(messages), own)


def _prompt(messages: Sequence[Mapping[str, Any]]) -> str | list[Message]:
    """Return messages as a task's prompt: one of the user alone is its text."""
    try:
        found = read_messages(list(messages), "the prompt")
    except ValueError as error:
        raise DataError(f"verifiers: {error}") from error
    alone = len(found) == 1 and found[0]["role"] == "user"
    return str(found[0]["content"]) if alone else found


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
