"""Fit a run's micro-batches into the memory it may take, before its first step."""

from dataclasses import dataclass
from functools import partial

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.memory.available import available_bytes
from grpo.memory.device import evaluation_tokens
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


def plan(
    config: Config, facts: ModelFacts | None, *, on_cpu: bool, prompt_tokens: int, row_tokens: int | None = None
) -> Plan:
    """Choose gradient_checkpointing if it is auto, and lower token_budget until the run fits memory_gb.

    Without memory_gb, warn if the run exceeds the free memory. On an Apple GPU token_budget is bounded by what the
    display can wait for. `row_tokens` are those of the longest row where an environment answers, see
    `longest_conversation`. Raises ConfigError if memory_gb is too little for any token_budget.
    """
    if row_tokens is not None:
        length = {"max_completion_length": row_tokens}
        made = plan(config.model_copy(update=length), facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens)
        own = {"max_completion_length": config.max_completion_length}
        return Plan(made.config.model_copy(update=own), f"{made.said} (conversations of up to {row_tokens:,} tokens)")
    most = None if facts is None else evaluation_tokens(facts)
    if most is None or most >= config.token_budget:
        return _plan(config, facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens)
    made = _plan(config.model_copy(update={"token_budget": most}), facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens)
    bounded = f"; token_budget {config.token_budget} is lowered to {most}: Metal ends what keeps the display waiting"
    return Plan(made.config, made.said + bounded)


def longest_conversation(config: Config) -> int:
    """Return the most tokens a row can have where an environment answers, replies included."""
    turns = config.max_turns * config.max_completion_length + (config.max_turns - 1) * config.max_reply_length
    return turns if config.max_conversation_length is None else min(turns, config.max_conversation_length)


def _plan(config: Config, facts: ModelFacts | None, *, on_cpu: bool, prompt_tokens: int) -> Plan:
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
        chosen = decided(config, facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens, available=there)
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


def decided(
    config: Config, facts: ModelFacts, *, on_cpu: bool, prompt_tokens: int, available: int | None = None
) -> Config:
    """Return the config with gradient_checkpointing decided: on for much, or for more than is available, without it."""
    whole = estimate(_choose(config, False), facts, on_cpu=on_cpu, prompt_tokens=prompt_tokens)
    much = whole.activations > RECOMPUTED_FROM or (available is not None and whole.total_bytes > available)
    return _choose(config, much)


def _choose(config: Config, recomputed: bool) -> Config:
    """Return the config with gradient_checkpointing decided, as it is where the user has decided."""
    if config.gradient_checkpointing != "auto":
        return config
    return config.model_copy(update={"gradient_checkpointing": recomputed})


def _said(config: Config, chosen: Config) -> str:
    decided = config.gradient_checkpointing == "auto" and chosen.gradient_checkpointing
    return ", gradient_checkpointing on (auto): blocks are recomputed in the backward pass" if decided else ""
