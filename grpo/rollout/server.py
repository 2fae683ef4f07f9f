"""Completions from an OpenAI-compatible server: mlx_lm.server here, vLLM or SGLang on a cluster.

A request a sample, several at a time; what may pass (busy, restarting) is asked again. A prompt the server refuses is
a sample that is not there, anything else it refuses (no such model, no key) ends the work. The key, if it wants one,
is read from SERVER_API_KEY.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from envs import Message, Task
from grpo.config.sections import ConfigError
from grpo.rollout.prompts import chat_messages
from grpo.rollout.remote.fleet import Fleet
from grpo.types import Group, Prompt, Rollout
from rewards.base import prompt_text
from rewards.judge.endpoint import Endpoint, EndpointError

KEY_VARIABLE = "SERVER_API_KEY"
REFUSES_PROMPT = frozenset({400, 413, 422})
ATTEMPTS = 5  # of each server, of a request that may pass when it is sent again

OnTokens = Callable[[int], None]


@dataclass(frozen=True)
class Said:
    """One completion as the server gives it: a text and a count, no token ids."""

    text: str
    tokens: int
    stop_reason: Literal["stop", "length", "error"]  # error: the server refused the prompt


@dataclass(frozen=True)
class Asking:
    """Which servers are asked, and how; ConfigError for what is no address."""

    url: str | Sequence[str]  # of one server, or of several that answer alike
    model: str
    samples: int
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    seed: int | None = 0  # None: no seeds are sent
    stop: Sequence[str] = ()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 8  # requests to each server at a time
    timeout_seconds: float = 600.0  # of a request

    def __post_init__(self) -> None:
        self.endpoints()  # refuses what is no address

    def endpoints(self) -> dict[str, Endpoint]:
        """Return the servers by address; ConfigError for what is no address."""
        addresses = [self.url] if isinstance(self.url, str) else list(self.url)
        if not addresses:
            raise ConfigError("server must name at least one address, got an empty list")
        return {address: self._endpoint(address) for address in addresses}

    def _endpoint(self, url: str) -> Endpoint:
        extra: dict[str, Any] = {"top_p": self.top_p}
        if self.stop:
            extra["stop"] = list(self.stop)
        if self.chat_template_kwargs:
            extra["chat_template_kwargs"] = dict(self.chat_template_kwargs)
        try:
            return Endpoint(url, self.model, self.max_tokens, self.temperature, extra, KEY_VARIABLE)
        except ValueError:
            raise ConfigError(f"server must look like http://127.0.0.1:8080/v1, got {url!r}") from None


def completions(
    asking: Asking,
    asked: Mapping[int, Sequence[Message]],
    on_tokens: OnTokens,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[int, tuple[Said, ...]]]:
    """Yield (number, its completions) of numbered conversations as they are complete.

    A number and a sample have a seed of their own. `say` hears of servers that go and come back. ConfigError, one line,
    where none can go on.
    """
    endpoints = asking.endpoints()
    got: dict[int, dict[int, Said]] = {number: {} for number in asked}
    jobs = [(number, sample) for number in asked for sample in range(asking.samples)]

    def complete(address: str, job: tuple[int, int]) -> Said:
        return _complete(endpoints[address], asking, asked[job[0]], *job)

    fleet = Fleet(list(endpoints), complete, concurrency=asking.concurrency, attempts=ATTEMPTS, say=say)
    try:
        for (number, sample), said in fleet.results(jobs, lambda: on_tokens(0)):
            got[number][sample] = said
            on_tokens(said.tokens)
            if len(got[number]) == asking.samples:
                yield number, tuple(one for _, one in sorted(got.pop(number).items()))
    except ConfigError as error:
        raise ConfigError(f"{error}; what was sampled before is saved") from None
    finally:
        for endpoint in endpoints.values():
            endpoint.hang_up()


def server_groups(
    asking: Asking,
    tasks: Sequence[Task],
    on_tokens: OnTokens,
    *,
    system_prompt: str | None = None,
    numbers: Sequence[int] | None = None,
) -> Iterator[tuple[int, Group]]:
    """Yield (place of the task, its group), to be scored and not trained on: rollouts hold a text and a token count.

    `numbers` are the tasks' own, which decide the seeds; by default their places. A prompt that the server refuses
    gets empty completions that count as cut.
    """
    own = list(range(len(tasks)) if numbers is None else numbers)
    places = {number: place for place, number in enumerate(own)}
    asked = {number: chat_messages(tasks[place], system_prompt, []) for number, place in places.items()}
    for number, said in completions(asking, asked, on_tokens):
        task = tasks[places[number]]
        rollouts = tuple(
            Rollout((), (), (), one.text, "stop" if one.stop_reason == "stop" else "length", counted=one.tokens)
            for one in said
        )
        yield places[number], Group(Prompt(task, (), prompt_text(task.prompt)), rollouts)


def _complete(endpoint: Endpoint, asking: Asking, messages: Sequence[Message], number: int, sample: int) -> Said:
    more = {} if asking.seed is None else {"seed": request_seed(asking.seed, number, sample)}
    try:
        return read_reply(endpoint.post(messages, asking.timeout_seconds, **more))
    except EndpointError as error:
        if error.status in REFUSES_PROMPT:
            return Said("", 0, "error")
        raise


def request_seed(seed: int, number: int, sample: int) -> int:
    """Return a seed of 31 bits for each completion."""
    return int(np.random.SeedSequence((seed, number, sample)).generate_state(1)[0] >> 1)


def read_reply(raw: bytes) -> Said:
    """Read the completion in a reply's body; reasoning that the server took apart gets its tags back."""
    try:
        reply: dict[str, Any] = json.loads(raw)
        choice = reply["choices"][0]
        message = choice["message"]
        said = message.get("content") or ""
        thought = message.get("reasoning") or message.get("reasoning_content") or ""
        stop: Literal["stop", "length"] = "stop" if choice.get("finish_reason") in ("stop", "eos") else "length"
        if thought:
            closed = "\n</think>\n" if said or stop == "stop" else ""
            said = f"<think>\n{thought.strip()}{closed}{said.lstrip()}"
        tokens = (reply.get("usage") or {}).get("completion_tokens")
        return Said(str(said), int(tokens) if tokens is not None else len(said.split()), stop)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise EndpointError(f"answers with no chat completion: {raw[:80]!r}", passing=True) from None
