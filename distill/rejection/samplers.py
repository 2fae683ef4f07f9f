"""Where completions come from: a model run here, or a server. Both yield prompts as they finish."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from distill.rejection.config import RejectionConfig
from envs import Task
from grpo.config import Config
from grpo.model.policy import Policy
from grpo.rollout.engine import Request, generate
from grpo.rollout.prompts import render
from grpo.rollout.sampler import Sampling
from grpo.rollout.stopping import stops
from rewards.sections import opened_by_prompt

OnTokens = Callable[[int], None]


@dataclass(frozen=True)
class Completion:
    """What was written."""

    text: str
    tokens: int
    stop_reason: str  # stop, length or error
    ids: tuple[int, ...] | None = None  # None from a server


@dataclass(frozen=True)
class Drawn:
    """A prompt's completions."""

    number: int
    shown: str  # the prompt as the model saw it; as the user wrote it, from a server
    completions: tuple[Completion, ...]
    left_out: str | None = None

    @property
    def opened(self) -> bool:
        """Whether the template has written `<think>`."""
        return opened_by_prompt(self.shown)


class Sampler(Protocol):
    """Draws the completions of numbered tasks, in any order."""

    def sample(self, tasks: Mapping[int, Task], on_tokens: OnTokens) -> Iterator[Drawn]: ...


class ModelSampler:
    """An MLX model through the rollout engine.

    A prompt's completions depend on its number, the seed and which prompts are in its chunk (the last by rounding
    alone), on nothing else.
    """

    def __init__(self, config: RejectionConfig, policy: Policy) -> None:
        self.config, self.policy = config, policy
        self.rendering = rendering(config)

    def sample(self, tasks: Mapping[int, Task], on_tokens: OnTokens) -> Iterator[Drawn]:
        """Every task's completions; one whose prompt is too long comes without."""
        config = self.config
        prompts = {number: render(task, self.policy.tokenizer, self.rendering) for number, task in tasks.items()}
        fitting = [n for n, prompt in prompts.items() if 0 < len(prompt.tokens) <= config.max_prompt_length]
        for number in prompts.keys() - set(fitting):
            yield Drawn(number, prompts[number].text, (), f"a prompt of {len(prompts[number].tokens)} tokens")
        request = Request(
            samples=config.samples,
            max_tokens=config.max_completion_length,
            sampling=Sampling(config.temperature, config.top_p),
            seed=config.seed,
            stream="sample",
            max_rows=config.max_rows,
            numbers=fitting,
            stops=stops(self.rendering, self.policy.tokenizer),
        )
        for place, group in generate(self.policy, [prompts[number] for number in fitting], request, on_tokens):
            completions = [Completion(r.text, len(r.tokens), r.stop_reason, r.tokens) for r in group.rollouts]
            yield Drawn(fitting[place], group.prompt.text, tuple(completions))


def rendering(config: RejectionConfig) -> Config:
    """How tasks become prompts, for grpo."""
    same: dict[str, Any] = {name: getattr(config, name) for name in ("model", "seed", "cold_start", "template",
                                                                    "system_prompt", "chat_template_kwargs", "stop",
                                                                    "stop_tokens", "max_prompt_length")}  # fmt: skip
    return Config(**same)
