"""gymnasium environments that are played in words: Text or Discrete actions, any observation that can be written."""

import re
from typing import Any

from envs.adapters.episodes import EpisodeEnv
from envs.base import DataError

NUMBER = re.compile(r"-?[0-9]{1,9}")


def gymnasium(
    env_id: str,
    *,
    options: dict[str, Any] | None = None,
    instruction: str = "",
    tasks: int = 64,
    test_tasks: int = 16,
    seed: int = 0,
) -> EpisodeEnv:
    """An environment of gymnasium by its id; `options` go to gymnasium.make (`module:Env-v0` imports a module first).

    A Text action is the model's whole message, a Discrete one the last number in it. Rewards are added up over the
    episode (the reward `environment`).
    """
    try:
        import gymnasium as library
    except ImportError as error:
        raise DataError("gymnasium is not installed: pip install 'grpo-mlx[envs]'") from error

    def make() -> GymnasiumEpisode:
        return GymnasiumEpisode(library.make(env_id, **(options or {})))

    return EpisodeEnv(
        f"gymnasium:{env_id}", make, instruction=instruction, tasks=tasks, test_tasks=test_tasks, seed=seed
    )


class GymnasiumEpisode:
    """A gymnasium environment played in words."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.kind = type(env.action_space).__name__
        if self.kind not in ("Text", "Discrete"):
            raise DataError(f"actions must be Text or Discrete to be played in words, these are {self.kind}")

    def reset(self, seed: int) -> str:
        """Start a new episode."""
        observation, _ = self.env.reset(seed=seed)
        return str(observation)

    def step(self, action: str) -> tuple[str, float, bool]:
        """Play what the message says; one that names no action changes nothing and is told so."""
        played: Any = action.strip()
        if self.kind == "Discrete":
            numbers = NUMBER.findall(action)
            played = int(numbers[-1]) if numbers else None
        if played is None or not self.env.action_space.contains(played):
            return f"That is no action. Actions are {self.env.action_space}.", 0.0, False
        observation, reward, terminated, truncated, _ = self.env.step(played)
        return str(observation), float(reward), bool(terminated or truncated)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()
