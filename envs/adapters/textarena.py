"""Single-player games of textarena: Wordle, Hangman, Guess the Number, Twenty Questions and others."""

from typing import Any

from envs.adapters.episodes import EpisodeEnv
from envs.base import DataError


def textarena(
    game: str = "GuessTheNumber-v0", *, instruction: str = "", tasks: int = 64, test_tasks: int = 16, seed: int = 0
) -> EpisodeEnv:
    """A game of textarena by its id; the game's own reward at the end is the reward `environment`."""
    try:
        import textarena as library
    except ImportError as error:
        raise DataError("textarena is not installed: pip install 'grpo-mlx[envs]'") from error
    return EpisodeEnv(
        f"textarena:{game}",
        lambda: TextarenaEpisode(library.make(game)),
        instruction=instruction,
        tasks=tasks,
        test_tasks=test_tasks,
        seed=seed,
    )


class TextarenaEpisode:
    """A game with one player."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def reset(self, seed: int) -> str:
        """Start a new game."""
        self.env.reset(num_players=1, seed=seed)
        return self._seen()

    def step(self, action: str) -> tuple[str, float, bool]:
        """Play a message; the reward comes at the end."""
        done, _ = self.env.step(action=action)
        if not done:
            return self._seen(), 0.0, False
        rewards, _ = self.env.close()
        return "", float((rewards or {}).get(0, 0.0)), True

    def close(self) -> None:
        """Nothing is held: a game that is over has closed itself."""

    def _seen(self) -> str:
        """Return the game's text since the player's last message."""
        _, observation = self.env.get_observation()
        if isinstance(observation, str):
            return observation
        return "\n".join(str(part[1]) for part in observation if part[0] == -1)
