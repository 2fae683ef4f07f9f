"""Where episodes of a verifiers environment (0.4 on) run: one event loop in a thread, and an endpoint on loopback.

The library asks an OpenAI-compatible server for the agent's next message. This server hands the request to the
rollout's conversation and answers with what the model said.
"""

import asyncio
import atexit
import concurrent.futures
import json
import queue
import threading
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
from aiohttp import web
from verifiers.v1.clients import EvalClientConfig, ModelContext
from verifiers.v1.clients.client import SESSION_ID_HEADER
from verifiers.v1.configs.agent import agent_config_fields
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harnesses.null import NullHarness
from verifiers.v1.harnesses.utils.mcp import call_mcp, connect_mcp
from verifiers.v1.runtimes import ProgramResult

from envs.conversation import Message

MODEL = "policy"
LARGEST_REQUEST = 64 << 20  # bytes
CLOSING_SECONDS = 10.0
ONE_AGENT = (
    "the policy plays one conversation of one trainable agent: give every other agent of this environment a model and "
    "a client of its own"
)


@dataclass(frozen=True)
class Asked:
    """What the agent wants the model to answer: messages and tools as OpenAI writes them."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]


@dataclass(frozen=True)
class Worth:
    """The weighted sum of a finished episode's rewards, and its rewards and metrics by name."""

    reward: float
    metrics: dict[str, float]


class Play:
    """One rollout: an episode in the event loop that asks, and a thread elsewhere that answers."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.asked: queue.SimpleQueue[Asked | Worth | BaseException] = queue.SimpleQueue()
        self.said: asyncio.Queue[Message] = asyncio.Queue()
        self.traces: list[Any] = []  # of trainable agents, in the order in which they began
        self.running: concurrent.futures.Future[None] | None = None
        self.waiting: asyncio.Task[Any] | None = None  # the request that the model is to answer

    def hear(self, timeout_seconds: float | None = None) -> "Asked | Worth":
        """Return what comes next; raises what the episode raised, queue.Empty when it takes too long."""
        found = self.asked.get(timeout=timeout_seconds)
        if isinstance(found, BaseException):
            raise found
        return found

    def end(self) -> None:
        """Give up an episode that is not over."""
        if self.running is not None:
            self.running.cancel()


class Stage:
    """The event loop of an environment, the tool servers that its tasks share, and the endpoint of its agents."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self._plays: dict[str, Play] = {}  # by the id of a trace
        self._episodes: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        opened: concurrent.futures.Future[ModelContext] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="verifiers", daemon=True)
        self._thread.start()
        self.context = opened.result()
        atexit.register(self.close)

    def begin(self, task: Any) -> Play:
        """Start an episode of a task."""
        play = Play(task)
        play.running = asyncio.run_coroutine_threadsafe(self._episode(play), self._loop)
        return play

    def answer(self, play: Play, message: Message) -> None:
        """Give an episode the model's message."""
        self._loop.call_soon_threadsafe(play.said.put_nowait, message)

    def close(self) -> None:
        """End every episode and stop the servers."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(CLOSING_SECONDS)

    def _run(self, opened: "concurrent.futures.Future[ModelContext]") -> None:
        try:
            self._loop.run_until_complete(self._serve(opened))
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)  # to the thread that waits
            elif not self._over.is_set():  # at the interpreter's end threads can't be had any more to tidy up with
                raise

    async def _serve(self, opened: "concurrent.futures.Future[ModelContext]") -> None:
        app = web.Application(client_max_size=LARGEST_REQUEST)
        app.router.add_post("/v1/chat/completions", self._completion)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            async with self.environment.serving():
                opened.set_result(ModelContext(MODEL, EvalClientConfig(base_url=url, api_key_var="NO_KEY_IS_NEEDED")))
                await self._over.wait()
                for task in self._episodes:
                    task.cancel()
                await asyncio.gather(*self._episodes, return_exceptions=True)
        finally:
            await runner.cleanup()

    async def _episode(self, play: Play) -> None:
        def minted(trace: Any) -> None:
            if trace.agent.trainable:
                self._plays[trace.id] = play
                play.traces.append(trace)

        task = asyncio.current_task()
        assert task is not None
        self._episodes.add(task)
        try:
            episode = await self.environment.run_episode(play.task, self.context, on_trace=minted)
            play.asked.put(_worth(episode, play))
        except BaseException as error:  # handed to the thread that asked
            play.asked.put(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._episodes.discard(task)
            if play.waiting is not None:
                play.waiting.cancel()
            for trace in play.traces:
                self._plays.pop(trace.id, None)

    async def _completion(self, request: web.Request) -> web.Response:
        trace_id = request.headers.get(SESSION_ID_HEADER, "")
        play = self._plays.get(trace_id)
        if play is None or play.traces[0].id != trace_id:
            return web.json_response({"error": {"message": ONE_AGENT, "type": "invalid_request_error"}}, status=400)
        body = await request.json()
        play.waiting = asyncio.current_task()
        play.asked.put(Asked(body["messages"], body.get("tools") or []))
        return web.json_response(completion(await play.said.get()))


class Chat(NullHarness):
    """The library's chat loop with the task's tools, run in the event loop and not as a program of its own."""

    SUPPORTS_TOOL_INTERCEPTION = False

    async def setup(self, runtime: Any) -> None:
        """Nothing is installed."""

    async def launch(
        self, ctx: Any, trace: Any, runtime: Any, endpoint: str, secret: str, mcp_urls: dict[str, str], data: Any
    ) -> ProgramResult:
        """Converse until the model answers without a tool call."""
        system, prompt = self.resolve_prompt(data)
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        if isinstance(prompt, str):
            messages.append({"role": "user", "content": prompt})
        else:
            messages += [message_to_wire(message) for message in prompt or []]
        servers = {name: {"url": url, "timeout": self.config.tool_timeout} for name, url in mcp_urls.items()}
        headers = {"Authorization": f"Bearer {secret}"}
        async with AsyncExitStack() as stack:
            tools, known, connections = await connect_mcp({"mcpServers": servers}, stack)
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=None, trust_env=False, headers=headers))
            while True:
                body = {"model": ctx.model, "messages": messages, **({"tools": tools} if tools else {})}
                response = await client.post(f"{endpoint}/chat/completions", json=body)
                if response.is_error:
                    return ProgramResult(1, "", response.text)
                said = response.json()["choices"][0]["message"]
                messages.append(said)
                if not said.get("tool_calls"):
                    return ProgramResult(0, "", "")
                for call in said["tool_calls"]:
                    name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
                    content = f"error: unknown tool {name!r}"
                    if name in known:
                        content = await call_mcp(connections, known, name, arguments)
                    messages.append({"role": "tool", "tool_call_id": call["id"], "name": name, "content": content})


def chatting(environment: Any) -> Any:
    """Have an environment's agents play with Chat, from its own `setup` on; returns the environment."""
    before = environment.setup

    async def setup(agents: Any) -> None:
        await before(agents)
        for role in agent_config_fields(environment.config):
            agent = getattr(agents, role)
            agent.harness = Chat(agent.harness.config)

    environment.setup = setup
    return environment


def completion(message: Message) -> dict[str, Any]:
    """Return a message of the model as a chat completion."""
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["function"]["name"], "arguments": json.dumps(call["function"]["arguments"])},
        }
        for call in message.get("tool_calls", [])
    ]
    said = {"role": "assistant", "content": message["content"], **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if calls else "stop"}
    return {
        "id": uuid.uuid4().hex,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [choice],
    }


def _worth(episode: Any, play: Play) -> Worth:
    """Return what a finished episode is worth; RuntimeError where it failed."""
    if not episode.ok:
        errors = [*(error for trace in episode.traces for error in trace.errors), *episode.errors]
        raise RuntimeError(f"{errors[0].type}: {errors[0].message}" if errors else "the episode failed")
    if len(play.traces) != 1:
        raise RuntimeError(ONE_AGENT)
    (trace,) = play.traces
    values = {name: reward.value for name, reward in trace.rewards.items() if reward is not None}
    metrics = {name: float(value) for name, value in trace.metrics.items() if value is not None}
    return Worth(float(trace.reward), {**metrics, **values})
