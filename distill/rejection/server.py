"""Completions from an OpenAI-compatible server: mlx_lm.server here, vLLM or SGLang on a cluster.

A request a sample, several at a time; what may pass (busy, restarting) is asked again. A prompt the server refuses is
a sample that is not there, anything else it refuses (no such model, no key) stops the run. The key, if it wants one,
is read from SERVER_API_KEY.
"""

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from distill.rejection.config import RejectionConfig
from distill.rejection.samplers import Completion, Drawn, OnTokens
from envs import Task
from grpo.config.sections import ConfigError
from grpo.rollout.prompts import chat_messages
from rewards.base import prompt_text
from rewards.judge.endpoint import Endpoint, EndpointError

KEY_VARIABLE = "SERVER_API_KEY"
REFUSES_PROMPT = frozenset({400, 413, 422})
ATTEMPTS, FIRST_PAUSE_SECONDS = 5, 0.5  # the pause is doubled each time
GLANCE_SECONDS = 0.2  # between looks at whether the run is to stop


class ServerSampler:
    """Draws completions over HTTP."""

    def __init__(self, config: RejectionConfig) -> None:
        self.config = config
        try:
            self.endpoint = Endpoint(
                str(config.server),
                config.server_model,
                config.max_completion_length,
                config.temperature,
                {
                    "top_p": config.top_p,
                    **({"stop": config.stop} if config.stop else {}),
                    **({"chat_template_kwargs": config.chat_template_kwargs} if config.chat_template_kwargs else {}),
                },
                KEY_VARIABLE,
            )
        except ValueError:
            raise ConfigError(f"server must look like http://127.0.0.1:8080/v1, got {config.server!r}") from None

    def sample(self, tasks: Mapping[int, Task], on_tokens: OnTokens) -> Iterator[Drawn]:
        """Every task's completions as they are complete; ConfigError, one line, where the server can't go on."""
        got: dict[int, dict[int, Completion]] = {number: {} for number in tasks}
        jobs = [(number, sample) for number in tasks for sample in range(self.config.samples)]
        with _Workers(self.config.concurrency, lambda job: self._complete(tasks[job[0]], *job), jobs) as workers:
            for (number, sample), completion in workers.results(on_tokens):
                got[number][sample] = completion
                on_tokens(completion.tokens)
                if len(got[number]) == self.config.samples:
                    completions = tuple(one for _, one in sorted(got.pop(number).items()))
                    yield Drawn(number, prompt_text(tasks[number].prompt), completions)

    def _complete(self, task: Task, number: int, sample: int) -> Completion:
        messages = chat_messages(task, self.config.system_prompt, [])
        more = {"seed": request_seed(self.config.seed, number, sample)} if self.config.server_seeds else {}
        for attempt in range(ATTEMPTS):
            try:
                return read_reply(self.endpoint.post(messages, self.config.timeout_seconds, **more))
            except EndpointError as error:
                if error.status in REFUSES_PROMPT:
                    return Completion("", 0, "error")
                if not error.passing or attempt == ATTEMPTS - 1:
                    raise ConfigError(f"server {error}; what was sampled before is saved") from None
                time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("unreachable")


def request_seed(seed: int, number: int, sample: int) -> int:
    """A seed of 31 bits for each completion."""
    return int(np.random.SeedSequence((seed, number, sample)).generate_state(1)[0] >> 1)


def read_reply(raw: bytes) -> Completion:
    """The completion in a reply's body; reasoning that the server took apart gets its tags back."""
    try:
        reply: dict[str, Any] = json.loads(raw)
        choice = reply["choices"][0]
        message = choice["message"]
        said = message.get("content") or ""
        thought = message.get("reasoning") or message.get("reasoning_content") or ""
        stop = "stop" if choice.get("finish_reason") in ("stop", "eos") else "length"
        if thought:
            closed = "\n</think>\n" if said or stop == "stop" else ""
            said = f"<think>\n{thought.strip()}{closed}{said.lstrip()}"
        tokens = (reply.get("usage") or {}).get("completion_tokens")
        return Completion(str(said), int(tokens) if tokens is not None else len(said.split()), stop)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise EndpointError(f"answers with no chat completion: {raw[:80]!r}", passing=True) from None


class _Workers:
    """Threads that do jobs. Daemons: a hanging request holds up no exit."""

    def __init__(self, count: int, work: Any, jobs: list[Any]) -> None:
        self.work, self.expected = work, len(jobs)
        self.todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        for job in jobs:
            self.todo.put(job)
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._run, name="server", daemon=True) for _ in range(count)]

    def __enter__(self) -> "_Workers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()

    def results(self, on_tokens: OnTokens) -> Iterator[tuple[Any, Any]]:
        """(job, result) as they come; raises what a job raised."""
        for _ in range(self.expected):
            while True:
                try:
                    job, result = self.done.get(timeout=GLANCE_SECONDS)
                    break
                except queue.Empty:
                    on_tokens(0)
            if isinstance(result, BaseException):
                raise result
            yield job, result

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                job = self.todo.get_nowait()
            except queue.Empty:
                return
            try:
                self.done.put((job, self.work(job)))
            except BaseException as error:  # handed to the caller's thread
                self.done.put((job, error))
