"""Samplers of completions: a model run here, or a server. Both yield prompts as they finish."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from distill.rejection.config import RejectionConfig
from envs import Env, Message, Task, Tool
from grpo.config import Config
from grpo.config.sections import TurnSettings
from grpo.model.policy import Policy
from grpo.rollout.dialogue import dialogues_of, tools_for
from grpo.rollout.engine import Request, generate
from grpo.rollout.prompts import render
from grpo.rollout.sampler import Sampling
from grpo.rollout.stopping import stops
from grpo.scoring import failed_dialogues, tool_tracebacks
from grpo.types import Group, Rollout
from rewards.sections import opened_by_prompt

OnTokens = Callable[[int], None]


@dataclass(frozen=True)
class Completion:
    """A completion as it was written."""

    text: str
    tokens: int
    stop_reason: str  # stop, length or error
    ids: tuple[int, ...] | None = None  # None from a server
    messages: tuple[Message, ...] | None = None  # what was said after the prompt, where an environment answers
    turn_rewards: tuple[Mapping[str, float], ...] = ()  # what its replies gave


@dataclass(frozen=True)
class Drawn:
    """A prompt's completions."""

    number: int
    shown: str  # the prompt as the model saw it; as the user wrote it, from a server
    completions: tuple[Completion, ...]
    left_out: str | None = None
    tools: tuple[Any, ...] = ()  # schemas of those the prompt shows
    raised: tuple[tuple[str, str], ...] = ()  # ("environment" or "tool", traceback)

    @property
    def opened(self) -> bool:
        """Return whether the template has written `<think>`."""
        return opened_by_prompt(self.shown)


class Sampler(Protocol):
    """Draws the completions of numbered tasks, in any order."""

    def sample(self, tasks: Mapping[int, Task], on_tokens: OnTokens) -> Iterator[Drawn]: ...


class ModelSampler:
    """An MLX model through the rollout engine.

    A prompt's completions depend on its number, the seed and which prompts are in its chunk (the last by rounding
    alone), on nothing else.
    """

    def __init__(self, config: RejectionConfig, policy: Policy, env: Env | None = None) -> None:
        self.config, self.policy, self.env = config, policy, env
        self.rendering = rendering(config)
        self.stops = stops(self.rendering, policy.tokenizer)
        self.dialogues = None if env is None else dialogues_of(env, policy.tokenizer, self.rendering, self.stops.tokens)

    def sample(self, tasks: Mapping[int, Task], on_tokens: OnTokens) -> Iterator[Drawn]:
        """Every task's completions; one whose prompt is too long comes without."""
        config = self.config
        tools = {number: self._tools(task) for number, task in tasks.items()}
        prompts = {
            number: render(task, self.policy.tokenizer, self.rendering, tools=tools[number])
            for number, task in tasks.items()
        }
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
            stops=self.stops,
            dialogues=self.dialogues,
        )
        for place, group in generate(self.policy, [prompts[number] for number in fitting], request, on_tokens):
            schemas = tuple(tool.schema for tool in tools[fitting[place]])
            completions = tuple(map(_completion, group.rollouts))
            yield Drawn(fitting[place], group.prompt.text, completions, tools=schemas, raised=_raised(group))

    def _tools(self, task: Task) -> Sequence[Tool]:
        return () if self.dialogues is None or self.env is None else tools_for(self.env, task)


def _raised(group: Group) -> tuple[tuple[str, str], ...]:
    """What the environment and its tools raised in the conversations of a prompt."""
    failed = [dialogue.traceback or dialogue.problem or "" for _, dialogue in failed_dialogues([group])]
    tools = [text for _, text in tool_tracebacks([group])]
    return (*(("environment", text) for text in failed), *(("tool", text) for text in tools))


def _completion(rollout: Rollout) -> Completion:
    """A rollout as it is scored; one whose environment failed is an error."""
    ids = tuple(rollout.trained(rollout.tokens))
    dialogue = rollout.dialogue
    if dialogue is None:
        return Completion(rollout.text, len(ids), rollout.stop_reason, ids)
    reason = "error" if dialogue.failed else rollout.stop_reason
    return Completion(rollout.text, len(ids), reason, ids, dialogue.messages, dialogue.rewards)


def rendering(config: RejectionConfig) -> Config:
    """Return the settings by which grpo turns tasks into prompts."""
    same: dict[str, Any] = {name: getattr(config, name) for name in ("model", "seed", "cold_start", "template",
                                                                    "system_prompt", "chat_template_kwargs", "stop",
                                                                    "stop_tokens", "max_prompt_length",
                                                                    *TurnSettings.model_fields)}  # fmt: skip
    return Config(**same)
