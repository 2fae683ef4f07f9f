"""Names of the reward functions of a trainer."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from grpo.config.sections import ConfigError

RewardFunction = str | Callable[..., Any]


def listed(reward_funcs: RewardFunction | Sequence[RewardFunction] | None) -> list[RewardFunction]:
    """One function or several as a list."""
    return [reward_funcs] if isinstance(reward_funcs, str) or callable(reward_funcs) else list(reward_funcs or ())


def named(reward_funcs: RewardFunction | Sequence[RewardFunction] | None) -> dict[str, RewardFunction]:
    """The functions by name: a string is one, a function's is its own, a lambda's `lambda`; the second gets a `_2`.

    ConfigError if there are none, or for what is no function.
    """
    given = listed(reward_funcs)
    if not given:
        raise ConfigError("reward_funcs is empty: without a reward nothing is learned")
    found: dict[str, RewardFunction] = {}
    times: Counter[str] = Counter()
    for function in given:
        if not isinstance(function, str) and not callable(function):
            raise ConfigError(f"a reward function is a function or a name, got {type(function).__name__}")
        if isinstance(function, str) and "/" in function and ":" not in function:
            raise ConfigError(
                f"{function} looks like a reward model, which is not run here: the reward 'judge' asks any "
                "OpenAI-compatible server, or write a function that calls the model"
            )
        name = function if isinstance(function, str) else _name_of(function)
        times[name] += 1
        if isinstance(function, str) and times[name] > 1:
            raise ConfigError(f"reward_funcs names {name} twice")
        found[name if times[name] == 1 else f"{name}_{times[name]}"] = function
    return found


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = str(getattr(function, "__name__", type(function).__name__))
    return "lambda" if name == "<lambda>" else name
