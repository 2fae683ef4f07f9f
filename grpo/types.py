"""The records that flow through a step: Prompt -> Rollout -> Group -> Segment. Axes are in the field comments."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from envs import Task

if TYPE_CHECKING:
    import mlx.core as mx

Credit = float | tuple[float, ...]  # one advantage for a whole completion, or one a token
StopReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Prompt:
    """A task as the model sees it."""

    task: Task
    tokens: tuple[int, ...]  # [time]
    text: str


@dataclass(frozen=True)
class Rollout:
    """One completion as the sampler made it. What is trained on is `tokens`, never a re-tokenised text."""

    tokens: tuple[int, ...]  # [time], the stop token included
    logprobs: tuple[float, ...]  # [time], the sampler's, at the sampling temperature
    entropies: tuple[float, ...]  # [time], nats
    text: str  # without the stop token
    stop_reason: StopReason


@dataclass(frozen=True)
class Group:
    """All samples of one prompt."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]  # [samples]


@dataclass(frozen=True)
class Segment:
    """A micro-batch: rows of one or several prompts that run through the model together, as many for each prompt."""

    prompts: tuple[tuple[int, ...], ...]  # [prompts][time]
    completions: tuple[tuple[int, ...], ...]  # [batch][time], a prompt's rows next to each other
    sampler_logprobs: tuple[tuple[float, ...], ...]  # [batch][time]
    advantages: tuple[Credit, ...]  # [batch], all of one kind

    @property
    def samples(self) -> int:
        """Rows of each prompt."""
        return len(self.completions) // len(self.prompts)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion, [batch]."""
        return [len(row) for row in self.completions]


@dataclass(frozen=True)
class LossArrays:
    """What the loss of a micro-batch takes besides the policy's logprobs."""

    sampler_logprobs: "mx.array"  # [batch, time]
    reference_logprobs: "mx.array | None"  # [batch, time]; None without a KL term
    advantages: "mx.array"  # [batch], or [batch, time] where every token has its own
    mask: "mx.array"  # [batch, time], 1 at trained tokens
