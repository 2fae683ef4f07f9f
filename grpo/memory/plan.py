"""Fit a run's micro-batches into the memory it may take, before its first step."""

from dataclasses import dataclass
from functools import partial

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.memory.available import available_bytes
from grpo.memory.estimate import GIGABYTE, estimate, in_gb, knob
from grpo.model.facts import ModelFacts
from grpo.ranks import here

RECOMPUTED_FROM = 4 * GIGABYTE  # activations from which on blocks are recomputed, if that is left to the plan
LONG = 2048  # tokens of a micro-batch from which on they are for an architecture of unknown sizes


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
    """Choose gradient_checkpointing if it is auto, and lower token_budget until the run fits memory_gb.

    Without memory_gb, warn if the run exceeds the free memory. Raises ConfigError if memory_gb is too little for any
    token_budget.
    """
    if facts is None:
        tokens = max(config.token_budget, config.max_completion_length)
        chosen = _choose(config, tokens >= LONG)
        return Plan(
            chosen,
            f"memory: the sizes of this architecture are not known, so its need can't be estimated"
            f"{_said(config, chosen)}",
        )
    need_of = partial(estimate, facts=facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens)
    if config.memory_gb is None:
        there, kind = available_bytes()
        there //= here().beside
        whole = need_of(_choose(config, False))
        chosen = _choose(config, whole.activations > RECOMPUTED_FROM or whole.total_bytes > there)
        need = need_of(chosen)
        said = f"memory: at most about {in_gb(need.total_bytes)}{_said(config, chosen)}"
        if need.total_bytes > there:
            said += f", more than the {in_gb(there)} {kind}: try {knob(chosen, facts, need)}"
        return Plan(chosen, said)
    allowed = int(config.memory_gb * GIGABYTE)
    for recomputed in (False, True):
        chosen = _choose(config, recomputed)
        budget = fitting_token_budget(chosen, facts, allowed, on_cpu=on_cpu, prompt_tokens=prompt_tokens)
        if budget is not None:
            break
    smallest = chosen.model_copy(update={"token_budget": budget or 1})
    need = need_of(smallest)
    if budget is None:
        raise ConfigError(
            f"memory_gb {config.memory_gb:g} is too little: about {in_gb(need.total_bytes)} with the smallest "
            f"micro-batches; try {knob(smallest, facts, need)}"
        )
    lowered = f" with token_budget {budget}" if budget < config.token_budget else ""
    return Plan(smallest, f"memory: at most about {in_gb(need.total_bytes)}{lowered}{_said(config, smallest)}")


def _choose(config: Config, recomputed: bool) -> Config:
    """Return the config with gradient_checkpointing decided, as it is where the user has decided."""
    if config.gradient_checkpointing != "auto":
        return config
    return config.model_copy(update={"gradient_checkpointing": recomputed})


def _said(config: Config, chosen: Config) -> str:
    decided = config.gradient_checkpointing == "auto" and chosen.gradient_checkpointing
    return ", gradient_checkpointing on (auto): blocks are recomputed in the backward pass" if decided else ""
