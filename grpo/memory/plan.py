"""Fit a run's micro-batches into the memory it may take, before its first step."""

from dataclasses import dataclass

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.memory.available import available_bytes
from grpo.memory.estimate import GIGABYTE, estimate, in_gb, knob
from grpo.model.facts import ModelFacts


def fitting_token_budget(
    config: Config, facts: ModelFacts, available: int, *, on_cpu: bool, prompt_tokens: int | None = None
) -> int | None:
    """The largest token_budget, halved as often as it takes, that a run fits with; None if none does."""
    budget = config.token_budget
    while True:
        smaller = config.model_copy(update={"token_budget": budget})
        if estimate(smaller, facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens).total_bytes <= available:
            return budget
        if budget <= config.max_completion_length:
            return None
        budget //= 2


@dataclass(frozen=True)
class Plan:
    """A config whose micro-batches fit, and what there is to say about it."""

    config: Config
    said: str


def plan(config: Config, facts: ModelFacts | None, *, on_cpu: bool, prompt_tokens: int) -> Plan:
    """Lower token_budget until the run fits memory_gb; without memory_gb, warn if it exceeds the free memory.

    Raises ConfigError if memory_gb is too little for any token_budget.
    """
    if facts is None:
        return Plan(config, "memory: the sizes of this architecture are not known, so its need can't be estimated")
    if config.memory_gb is None:
        need, (there, kind) = estimate(config, facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens), available_bytes()
        said = f"memory: at most about {in_gb(need.total_bytes)}"
        if need.total_bytes > there:
            said += f", more than the {in_gb(there)} {kind}: try {knob(config, facts, need)}"
        return Plan(config, said)
    allowed = int(config.memory_gb * GIGABYTE)
    budget = fitting_token_budget(config, facts, allowed, on_cpu=on_cpu, prompt_tokens=prompt_tokens)
    smallest = config.model_copy(update={"token_budget": budget or 1})
    need = estimate(smallest, facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens)
    if budget is None:
        raise ConfigError(
            f"memory_gb {config.memory_gb:g} is too little: about {in_gb(need.total_bytes)} with the smallest "
            f"micro-batches; try {knob(smallest, facts, need)}"
        )
    lowered = f" with token_budget {budget}" if budget < config.token_budget else ""
    return Plan(smallest, f"memory: at most about {in_gb(need.total_bytes)}{lowered}")
