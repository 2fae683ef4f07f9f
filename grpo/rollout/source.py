"""The source of a step's completions: the engine, or the user's own (a server, another process, a cache)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from grpo.config.sections import ConfigError
from grpo.model.policy import Policy
from grpo.rollout.engine import Request, generate
from grpo.types import Group, Prompt


@dataclass(frozen=True)
class RolloutInputs:
    """The prompts and settings a source samples with."""

    policy: Policy
    prompts: Sequence[Prompt]
    request: Request  # samples of each prompt, tokens, temperature, seed, step, ...
    on_tokens: Callable[[int], None]  # call it with the tokens sampled since; it ends the step on a signal


# Gives (place of the prompt, its group) as groups finish. Tokens, and the logprobs of whoever sampled them, at the
# request's temperature; where that is not the policy, importance_sampling_cap corrects for it.
RolloutSource = Callable[[RolloutInputs], Iterable[tuple[int, Group]]]


def engine(inputs: RolloutInputs) -> Iterator[tuple[int, Group]]:
    """Sample from the policy in this process."""
    return generate(inputs.policy, inputs.prompts, inputs.request, inputs.on_tokens)


def groups_of(source: RolloutSource, name: str, inputs: RolloutInputs) -> Iterator[tuple[int, Group]]:
    """Yield a source's groups; ConfigError if it leaves a prompt out, or gives another number of samples."""
    seen = set[int]()
    for index, group in source(inputs):
        if len(group.rollouts) != inputs.request.samples or not 0 <= index < len(inputs.prompts) or index in seen:
            raise ConfigError(
                f"rollout_source {name} gave {len(group.rollouts)} completions for prompt {index}: every prompt of 0 "
                f"to {len(inputs.prompts) - 1} needs {inputs.request.samples}, once"
            )
        seen.add(index)
        yield index, group
    if len(seen) < len(inputs.prompts):
        raise ConfigError(f"rollout_source {name} gave groups for {len(seen)} of {len(inputs.prompts)} prompts")
