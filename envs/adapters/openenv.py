"""Servers of the OpenEnv kind: reset and step, an episode for each rollout.

OpenEnv's own servers keep an episode for as long as a WebSocket connection (`/ws`) is open, and answer POST /reset and
POST /step with a fresh environment each time. A server without `/ws` is asked over HTTP, where it must tell episodes
apart by their id.
"""

import contextlib
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from envs.adapters.episodes import EpisodeEnv
from envs.base import DataError

TEXTS = ("text", "message", "content", "prompt", "observation")  # where an observation keeps its words
LONGEST_REPLY = 16 << 20  # bytes
NO_SESSION, BETWEEN_TRIES_SECONDS = "CAPACITY_REACHED", 0.25  # the code of a server that has no session free
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "Z3Jwby1wcm9iZS1rZXktMQ==",
}


def openenv(
    url: str,
    *,
    action: str = "message",
    instruction: str = "",
    timeout_seconds: float = 20.0,
    tasks: int = 32,
    test_tasks: int = 8,
    seed: int = 0,
) -> EpisodeEnv:
    """The environment of a server at `url`.

    reset is sent {"seed", "episode_id"}, step {`action`: the model's message}; both answer {"observation", "reward",
    "done"}. Over HTTP a step is {"action": ..., "episode_id"}. Rewards are added up (the reward `environment`).
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"openenv: url must begin with http:// or https://, got {url!r}")
    url = url.rstrip("/")
    connect = _connection(url, timeout_seconds)
    return EpisodeEnv(
        f"openenv {url}",
        lambda: ServerEpisode(connect(), action),
        instruction=instruction,
        tasks=tasks,
        test_tasks=test_tasks,
        seed=seed,
    )


class Server(Protocol):
    """How one episode of a server is asked."""

    def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a reset or a step; return {"observation", "reward", "done"}."""

    def close(self) -> None:
        """End the episode."""


class ServerEpisode:
    """An episode that a server plays."""

    def __init__(self, server: Server, action: str) -> None:
        self.server, self.action = server, action

    def reset(self, seed: int) -> str:
        """Start a new episode."""
        return _words(self.server.ask("reset", {"seed": seed}).get("observation"))

    def step(self, action: str) -> tuple[str, float, bool]:
        """Send the action."""
        found = self.server.ask("step", {self.action: action})
        return _words(found.get("observation")), float(found.get("reward") or 0.0), bool(found.get("done"))

    def close(self) -> None:
        """End the episode."""
        self.server.close()


class HttpServer:
    """A server that tells episodes apart by their id, asked by POST."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self.url, self.timeout_seconds = url, timeout_seconds
        self.episode_id = uuid.uuid4().hex

    def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post the body; RuntimeError for an answer that is none."""
        sent = {**(body if what == "reset" else {"action": body}), "episode_id": self.episode_id}
        request = urllib.request.Request(
            f"{self.url}/{what}", json.dumps(sent).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_seconds) as answer:
                text = answer.read(LONGEST_REPLY)
        except urllib.error.HTTPError as error:
            detail = error.read(300).decode("utf-8", "replace")
            raise RuntimeError(f"{self.url}/{what}: HTTP {error.code}: {detail}") from None
        found = json.loads(text)
        if not isinstance(found, dict):
            raise RuntimeError(f"{self.url}/{what} answered {type(found).__name__}, not an object")
        return found

    def close(self) -> None:
        """Nothing is held here; the server forgets episodes that are over."""


class SocketServer:
    """A server that keeps an episode for each WebSocket connection, as OpenEnv's do."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self.url, self.timeout_seconds = url, timeout_seconds
        self.episode_id = uuid.uuid4().hex
        self.connection = self._connected()

    def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send the message and wait for its observation; a reset waits for a session where the server has none free.

        RuntimeError for an error.
        """
        latest = time.monotonic() + self.timeout_seconds
        data = {**body, "episode_id": self.episode_id} if what == "reset" else body
        found = self._exchanged({"type": what, "data": data})
        while what == "reset" and NO_SESSION in json.dumps(found) and time.monotonic() < latest:
            self.connection.close()
            time.sleep(BETWEEN_TRIES_SECONDS)
            self.connection = self._connected()
            found = self._exchanged({"type": what, "data": data})
        if not isinstance(found, dict) or found.get("type") != "observation":
            raise RuntimeError(f"{self.url}/ws: {what} was answered with {json.dumps(found)[:300]}")
        return dict(found["data"])

    def close(self) -> None:
        """Close the connection, which ends the episode."""
        self.connection.close()

    def _connected(self) -> Any:
        from websockets.sync.client import connect

        where = f"ws{self.url.removeprefix('http')}/ws"
        return connect(where, open_timeout=self.timeout_seconds, max_size=LONGEST_REPLY, proxy=None)

    def _exchanged(self, message: dict[str, Any]) -> Any:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):  # a server without a free session says so and closes
            self.connection.send(json.dumps(message))
        return json.loads(self.connection.recv(timeout=self.timeout_seconds))


def _connection(url: str, timeout_seconds: float) -> Callable[[], Server]:
    """Return what opens an episode at a server: over a WebSocket if it has one."""
    if not _has_socket(url, timeout_seconds):
        return lambda: HttpServer(url, timeout_seconds)
    try:
        import websockets.sync.client  # noqa: F401
    except ImportError as error:
        raise DataError(f"{url} keeps its episodes by WebSocket: pip install 'grpo-mlx[envs]'") from error
    return lambda: SocketServer(url, timeout_seconds)


def _has_socket(url: str, timeout_seconds: float) -> bool:
    """Return whether a server takes WebSocket connections at `/ws`; False where it can't be reached."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=timeout_seconds)
    try:
        connection.request("GET", f"{parts.path}/ws", headers=UPGRADE)
        return connection.getresponse().status == http.client.SWITCHING_PROTOCOLS
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _words(observation: Any) -> str:
    """The words of an observation: itself, one of TEXTS, or all of it as JSON."""
    if isinstance(observation, str) or observation is None:
        return observation or ""
    if isinstance(observation, dict):
        for name in TEXTS:
            if isinstance(observation.get(name), str):
                return str(observation[name])
    return json.dumps(observation, ensure_ascii=False, default=str)
