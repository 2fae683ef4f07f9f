"""Environments with `reset` and `step` as conversations.

An observation is what the environment says, an action what the model answers. gymnasium, textarena and OpenEnv servers
are each a small `Episode` on this.
"""

from collections.abc import Callable
from typing import Protocol

from envs.base import DataError, Env, Task
from envs.conversation import Conversation, Message, Reply


class Episode(Protocol):
    """One run of an environment."""

    def reset(self, seed: int) -> str:
        """Start a new episode and return its first observation, the same for the same seed."""

    def step(self, action: str) -> tuple[str, float, bool]:
        """Return the next observation, the reward of the action, and whether the episode is over."""

    def close(self) -> None:
        """Free what the episode holds."""


class EpisodeEnv(Env):
    """Tasks by seed: the prompt is the instruction and the first observation; each rollout has its own episode."""

    def __init__(
        self, name: str, make: Callable[[], Episode], *, instruction: str, tasks: int, test_tasks: int, seed: int
    ) -> None:
        self.make = make
        episode = self._opened(name)
        first = seed * 1_000_003
        seeds = {"train": range(first, first + tasks), "test": range(first + tasks, first + tasks + test_tasks)}
        try:
            splits = {split: [_task(episode, one, instruction) for one in numbers] for split, numbers in seeds.items()}
        except Exception as error:  # the boundary: another's environment may fail in any way
            raise DataError(f"{name}: reset failed: {_one_line(error)}") from error
        finally:
            episode.close()
        super().__init__(name, splits, reward_names=("environment",))

    def converse(self, task: Task) -> Conversation:
        """A conversation that plays the task's episode."""
        return EpisodeConversation(self.make, int(task.columns["seed"]))

    def _opened(self, name: str) -> Episode:
        try:
            return self.make()
        except Exception as error:  # the boundary again
            raise DataError(f"{name}: {_one_line(error)}") from error


class EpisodeConversation:
    """One rollout's episode, begun with the first action."""

    tools = ()

    def __init__(self, make: Callable[[], Episode], seed: int) -> None:
        self._make, self._seed = make, seed
        self._episode: Episode | None = None

    def reply(self, message: Message) -> Reply:
        """Take the model's message as the action."""
        if self._episode is None:
            self._episode = self._make()
            self._episode.reset(self._seed)
        said, reward, done = self._episode.step(str(message["content"]))
        shown: list[Message] = [{"role": "user", "content": said}] if said or not done else []
        if done:  # the batch may go on for long: a server's session is wanted by others
            self.close()
        return Reply(shown, done=done, rewards={"step": reward})

    def close(self) -> None:
        """Close the episode, once."""
        episode, self._episode = self._episode, None
        if episode is not None:
            episode.close()


def _task(episode: Episode, seed: int, instruction: str) -> Task:
    first = episode.reset(seed)
    return Task(str(seed), f"{instruction}\n\n{first}".strip() or ".", {"seed": seed})


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
