"""Servers of the OpenEnv kind: POST /reset and POST /step over HTTP, an episode for each rollout."""

import json
import urllib.error
import urllib.request
import uuid
from typing import Any

from envs.adapters.episodes import EpisodeEnv
from envs.base import DataError

TEXTS = ("text", "message", "content", "prompt", "observation")  # where an observation keeps its words
LONGEST_REPLY = 16 << 20  # bytes


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

    reset is sent {"seed", "episode_id"}, step {"action": {`action`: the model's message}, "episode_id"}; both answer
    {"observation", "reward", "done"}. A server must keep episodes apart by their id if several rollouts are to play at
    once. Rewards are added up (the reward `environment`).
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"openenv: url must begin with http:// or https://, got {url!r}")
    return EpisodeEnv(
        f"openenv {url}",
        lambda: ServerEpisode(url.rstrip("/"), action, timeout_seconds),
        instruction=instruction,
        tasks=tasks,
        test_tasks=test_tasks,
        seed=seed,
    )


class ServerEpisode:
    """An episode that a server plays."""

    def __init__(self, url: str, action: str, timeout_seconds: float) -> None:
        self.url, self.action, self.timeout_seconds = url, action, timeout_seconds
        self.episode_id = uuid.uuid4().hex

    def reset(self, seed: int) -> str:
        """Start a new episode."""
        return _words(self._post("reset", {"seed": seed, "episode_id": self.episode_id}).get("observation"))

    def step(self, action: str) -> tuple[str, float, bool]:
        """Send the action."""
        found = self._post("step", {"action": {self.action: action}, "episode_id": self.episode_id})
        return _words(found.get("observation")), float(found.get("reward") or 0.0), bool(found.get("done"))

    def close(self) -> None:
        """Nothing is held here; the server forgets episodes that are over."""

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_seconds) as answer:
                text = answer.read(LONGEST_REPLY)
        except urllib.error.HTTPError as error:
            detail = error.read(300).decode("utf-8", "replace")
            raise RuntimeError(f"{self.url}/{path}: HTTP {error.code}: {detail}") from None
        found = json.loads(text)
        if not isinstance(found, dict):
            raise RuntimeError(f"{self.url}/{path} answered {type(found).__name__}, not an object")
        return found


def _words(observation: Any) -> str:
    """The words of an observation: itself, one of TEXTS, or all of it as JSON."""
    if isinstance(observation, str) or observation is None:
        return observation or ""
    if isinstance(observation, dict):
        for name in TEXTS:
            if isinstance(observation.get(name), str):
                return str(observation[name])
    return json.dumps(observation, ensure_ascii=False, default=str)
