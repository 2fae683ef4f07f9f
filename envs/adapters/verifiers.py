"""Environments of the verifiers library, unmodified: of its older kind here, of 0.4 on in verifiers_tasksets.

The older kind (before 0.2: SingleTurnEnv, MultiTurnEnv, ToolEnv and their subclasses, with a rubric) runs its own
`rollout`, with a client that asks nobody: it hands what the environment wants answered to the conversation, and waits
for the model's message. So stop conditions, state, tools and rubric are the library's.
"""

import asyncio
import json
import queue
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply
from envs.splits import TestSize, split_tasks

MODEL = "policy"
BASES = ("Environment", "Env")  # of the older kind, and from 0.4 on


def is_verifiers(found: Any) -> bool:
    """Return whether an object is an environment of verifiers, without importing it."""
    return any(kind.__module__.startswith("verifiers.") and kind.__name__ in BASES for kind in type(found).__mro__)


def verifiers(
    env_id: str,
    *,
    arguments: dict[str, Any] | None = None,
    limit: int | None = None,
    test_size: TestSize = None,
    seed: int = 0,
) -> Env:
    """An installed environment of verifiers by its id, or a taskset's by the taskset's id.

    `arguments` are those of its config (`[env]`), or of its load_environment before 0.2. `test_size` tasks are held
    out, a tenth if not given, unless the environment has evaluation data of its own.
    """
    try:
        import verifiers as library
    except ImportError as error:
        raise DataError("verifiers is not installed: pip install 'grpo-mlx[verifiers]' (Python 3.11 on)") from error
    older = getattr(library, "load_environment", None)
    try:
        if older is not None:
            found = older(env_id, **(arguments or {}))
        else:
            from envs.adapters.verifiers_tasksets import load

            found = load(env_id, arguments or {})
    except Exception as error:  # the boundary: anybody's package is imported
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(f"verifiers: {env_id} can't be loaded: {text}") from error
    return of_verifiers(found, name=f"verifiers:{env_id}", limit=limit, test_size=test_size, seed=seed)


def of_verifiers(found: Any, *, name: str, limit: int | None = None, test_size: TestSize = None, seed: int = 0) -> Env:
    """Return an environment of verifiers, of either kind, as one of ours."""
    if hasattr(found, "rubric"):
        return VerifiersEnv(found, name=name, limit=limit, test_size=test_size, seed=seed)
    from envs.adapters.verifiers_tasksets import TasksetEnv

    return TasksetEnv(found, name=name, limit=limit, test_size=test_size, seed=seed)


class VerifiersEnv(Env):
    """Tasks are the rows of the environment's data sets; its rubric's weighted sum is the reward `environment`.

    `test_size` of them are held out where it has no evaluation data.
    """

    def __init__(
        self,
        environment: Any,
        *,
        name: str = "verifiers",
        limit: int | None = None,
        test_size: TestSize = None,
        seed: int = 0,
    ) -> None:
        self.environment = environment
        rubric = environment.rubric
        if getattr(rubric, "_get_group_reward_funcs", list)():
            raise DataError(f"{name}: its rubric judges whole groups at once, which is not supported here")
        count = -1 if limit is None else limit
        rows = _tasks(environment.get_dataset(n=count, seed=seed))
        notes: list[str] = []
        if getattr(environment, "eval_dataset", None) is not None or getattr(environment, "eval_dataset_source", None):
            if test_size is not None:
                raise DataError(f"{name}: test_size has no meaning, its evaluation data is what is held out")
            splits = {"train": rows, "test": _tasks(environment.get_eval_dataset(n=count, seed=seed))}
        else:
            splits, notes = split_tasks(rows, seed=seed, test_size=test_size)
        super().__init__(name, splits, reward_names=("environment",), notes=notes)

    def converse(self, task: Task) -> Conversation:
        """A conversation that runs the environment's rollout."""
        return VerifiersConversation(self.environment, task)


class _Shown:
    """A tool as the library defines it."""

    def __init__(self, definition: Any) -> None:
        self.name = str(definition.name)
        function = {"name": self.name, "description": definition.description, "parameters": definition.parameters}
        self.schema = {"type": "function", "function": function}


class VerifiersConversation:
    """One rollout: the library's loop runs in a thread of its own, a turn at a time."""

    def __init__(self, environment: Any, task: Task) -> None:
        self._environment, self._task = environment, task
        self.tools: Sequence[Any] = [_Shown(tool) for tool in getattr(environment, "tool_defs", None) or []]
        self._said: queue.Queue[Message | None] = queue.Queue()  # the model's; None at the end
        self._asked: queue.Queue[Any] = queue.Queue()  # prompts that want an answer, then the state or an exception
        self._thread: threading.Thread | None = None
        self._known = 0  # messages of the last prompt and its answer

    def reply(self, message: Message) -> Reply:
        """Give the model's message to the rollout; return what it asks next, or what the rubric says at its end."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="verifiers", daemon=True)
            self._thread.start()
            self._hear()
        self._said.put(message)
        found = self._hear()
        if isinstance(found, list):
            new, self._known = found[self._known :], len(found) + 1
            return Reply([_plain(one) for one in new])
        metrics = {name: float(value) for name, value in (found.get("metrics") or {}).items()}
        final = found.get("final_env_response")
        said = [_plain(one) for one in final] if isinstance(final, list) else []
        return Reply(said, done=True, rewards={"rubric": float(found.get("reward") or 0.0)}, info={"metrics": metrics})

    def close(self) -> None:
        """End a rollout that was given up."""
        self._said.put(None)

    def _hear(self) -> Any:
        found = self._asked.get()
        if isinstance(found, BaseException):
            raise found
        if isinstance(found, list) and not self._known:
            self._known = len(found) + 1
        return found

    def _run(self) -> None:
        try:
            self._asked.put(asyncio.run(self._rollout()))
        except BaseException as error:  # handed to the thread that asked
            self._asked.put(error)

    async def _rollout(self) -> Any:
        state = await self._environment.rollout(dict(self._task.columns["row"]), _client(self), MODEL, {})
        if state.get("error") is not None:
            raise RuntimeError(str(state["error"]))
        await self._environment.rubric.score_rollout(state)
        return state


def _client(talk: VerifiersConversation) -> Any:
    """A client of the library whose answers come from the conversation."""
    from verifiers.clients import Client
    from verifiers.types import Response, ResponseMessage, ToolCall

    class Waiting(Client):
        def setup_client(self, config: Any) -> Any:
            return None

        async def get_response(
            self, prompt: Any, model: str, sampling_args: Any, tools: Any = None, **more: Any
        ) -> Any:
            talk._asked.put(list(prompt) if not isinstance(prompt, str) else [prompt])
            message = await asyncio.to_thread(talk._said.get)
            if message is None:
                raise asyncio.CancelledError
            calls = [
                ToolCall(
                    id=call["id"], name=call["function"]["name"], arguments=json.dumps(call["function"]["arguments"])
                )
                for call in message.get("tool_calls", [])
            ]
            said = ResponseMessage(
                content=message["content"], tool_calls=calls or None, finish_reason="stop", is_truncated=False
            )
            return Response(id=uuid.uuid4().hex, created=int(time.time()), model=model, message=said)

        async def _unused(self, *arguments: Any, **more: Any) -> Any:
            raise NotImplementedError

        to_native_tool = to_native_prompt = get_native_response = _unused
        raise_from_native_response = from_native_response = close = _unused

    return Waiting(None)


def _plain(message: Any) -> Message:
    """A message of the library as {role, content, ...}."""
    found: Mapping[str, Any] = message if isinstance(message, Mapping) else message.model_dump(exclude_none=True)
    content = found.get("content", "")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    kept = {name: found[name] for name in ("tool_call_id", "name") if name in found}
    return {"role": str(found.get("role", "user")), "content": str(content or ""), **kept}


def _tasks(rows: Any) -> list[Task]:
    tasks = []
    for number, row in enumerate(rows):
        prompt = row["prompt"] if isinstance(row["prompt"], str) else [_plain(one) for one in row["prompt"]]
        columns = {name: row[name] for name in ("answer", "info") if row.get(name) is not None}
        tasks.append(Task(str(row.get("example_id", number)), prompt, {**columns, "row": dict(row)}))
    return tasks
