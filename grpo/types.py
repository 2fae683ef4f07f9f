"""The records that flow through a step: Prompt -> Rollout -> Group -> Segment. Axes are in the field comments."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from envs import Message, Task

if TYPE_CHECKING:
    import mlx.core as mx
    import numpy as np

    from grpo.config import Config
    from grpo.reduce import Unit

Value = TypeVar("Value")
Credit = float | tuple[float, ...]  # one advantage for a whole completion, or one a token
StopReason = Literal["stop", "length"]
Ending = Literal["done", "max_turns", "length", "timeout", "error"]


@dataclass(frozen=True)
class Prompt:
    """A task as the model sees it."""

    task: Task
    tokens: tuple[int, ...]  # [time]
    text: str


@dataclass(frozen=True)
class Dialogue:
    """The messages after the prompt of an environment that answers, and the rewards it gave for them.

    `ended` says why it is over: the environment was done, the turns or tokens were used up, or the environment was
    late or raised (`problem` says how).
    """

    messages: tuple[Message, ...]  # the model's and the environment's, in turn
    turns: tuple[tuple[int, int], ...]  # [turns] where each of the model's turns begins and ends among the tokens
    rewards: tuple[Mapping[str, float], ...]  # [turns] what the reply to each gave
    ended: Ending
    problem: str | None = None
    info: tuple[Mapping[str, Any], ...] = ()  # [turns] what else the replies said of themselves
    environment: Any = None  # the object of TRL's environment_factory, for the rewards' column `environments`
    traceback: str | None = None  # where the environment raised, or stood when its time was over
    tool_tracebacks: tuple[str, ...] = ()  # of tools that raised; the model was told in a line

    @property
    def failed(self) -> bool:
        """Return whether the environment failed, which is no fault of the model's."""
        return self.ended in ("timeout", "error")


@dataclass(frozen=True)
class Rollout:
    """One completion as the sampler made it. What is trained on is `tokens`, never a re-tokenised text."""

    tokens: tuple[int, ...]  # [time], the stop token included
    logprobs: tuple[float, ...]  # [time], the sampler's, at the sampling temperature
    entropies: tuple[float, ...]  # [time], nats
    text: str  # without the stop token
    stop_reason: StopReason
    mask: tuple[int, ...] | None = None  # [time], 1 = the model wrote it, 0 = context; None = all its own
    dialogue: Dialogue | None = None  # None where no environment answers
    proximal_logprobs: tuple[float, ...] | None = None  # [time], the trainer's at the step's start, where it needs them
    penalised: tuple[int, ...] | None = None  # [time], 1 = gets kl_cov's penalty; None = no token does
    # [time - 1, mixtures, chosen] that the sampler sent each token but the last to, -1 = not known; None = no mixtures
    experts: "np.ndarray | None" = field(default=None, compare=False, repr=False)
    version: int | None = None  # steps that the policy it was sampled from had learned; None = the policy in memory
    policy_logprobs: tuple[float, ...] | None = None  # [time], after the step's updates; for the rows that are saved
    reference_logprobs: tuple[float, ...] | None = None  # [time], for the same rows
    counted: int | None = None  # tokens of a text from a server, which gives no ids; such a rollout is never trained on

    @property
    def length(self) -> int:
        """All its tokens."""
        return len(self.tokens) if self.counted is None else self.counted

    @property
    def trained_tokens(self) -> int:
        """Tokens that the model wrote."""
        return self.length if self.mask is None else sum(self.mask)

    def trained(self, values: Sequence[Value]) -> Sequence[Value]:
        """Return those of [time] values that stand at the model's own tokens."""
        return values if self.mask is None else list(itertools.compress(values, self.mask))


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
    masks: tuple[tuple[int, ...], ...] | None = None  # [batch][time], 1 = trained on; None = every token is
    proximal_logprobs: tuple[tuple[float, ...], ...] | None = None  # [batch][time], of all rows or none
    penalised: tuple[tuple[int, ...], ...] | None = None  # [batch][time], of all rows or none
    experts: "tuple[np.ndarray | None, ...] | None" = field(default=None, compare=False)  # [batch], see Rollout

    @property
    def samples(self) -> int:
        """Rows of each prompt."""
        return len(self.completions) // len(self.prompts)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion, [batch]."""
        return [len(row) for row in self.completions]


@dataclass(frozen=True)
class AdvantageInputs:
    """Inputs of an advantage estimator: a step's groups and their rewards.

    Its result is [prompts, samples], one advantage a completion, or [batch, time], one a token, batch going through the
    samples of one prompt after another and time being as long as the longest completion at least.
    """

    rewards: "mx.array"  # [prompts, samples], the weighted sum; where a completion has none, its group's mean
    missing: "mx.array"  # [prompts, samples], bool: no reward, and so no credit, whatever the estimator says
    by_reward: "dict[str, mx.array]"  # each reward of weight != 0 as counted, [prompts, samples], NaN where missing
    lengths: "mx.array"  # [prompts, samples], tokens
    truncated: "mx.array"  # [prompts, samples], bool: no stop token
    groups: tuple[Group, ...]  # [prompts]
    config: "Config"


@dataclass(frozen=True)
class LossInputs:
    """Inputs of a loss: one micro-batch. Values at positions of mask 0 have no meaning."""

    policy_logprobs: "mx.array"  # [batch, time], the array with a gradient
    sampler_logprobs: "mx.array"  # [batch, time]
    reference_logprobs: "mx.array | None"  # [batch, time]; None with beta 0
    advantages: "mx.array"  # [batch], or [batch, time] where every token has its own
    mask: "mx.array"  # [batch, time], 1 at trained tokens
    config: "Config"
    proximal_logprobs: "mx.array | None" = None  # [batch, time], at the step's start; None unless a correction asks
    penalised: "mx.array | None" = None  # [batch, time], 1 = gets kl_cov's penalty
    entropies: "mx.array | None" = None  # [batch, time], nats, with a gradient; None unless the loss needs them


@dataclass(frozen=True)
class LossOutputs:
    """Outputs of a loss. Positions of mask 0 are left out of everything."""

    token_losses: "mx.array"  # [batch, time]
    metrics: "dict[str, mx.array]" = field(default_factory=dict)  # each [batch, time]: logged as a mean over tokens
    unit: "Unit" = "token"  # what the sum is divided by, see grpo.reduce


class LossFunction(Protocol):
    """A loss, the user's or a built-in one.

    With an attribute `needs` that holds "entropies", LossInputs has them; they cost another pass over the vocabulary.
    """

    def __call__(self, inputs: LossInputs, /) -> LossOutputs: ...


AdvantageFunction = Callable[[AdvantageInputs], "mx.array"]
