"""Process rewards: a value for each step or token of a completion, credited to the tokens that lead to it.

A_t = outcome advantage + weight * sum of the normalised values of the steps that end at t or later: the process
supervision of DeepSeekMath (arXiv 2402.03300). The authors of R1 tried a learned process reward and gave it up: it is
farmed, and steps are hard to tell apart (arXiv 2501.12948). What a rule can check step by step is another matter.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.ranks import here
from grpo.types import Credit, Group, Rollout

# f(prompts, completions, steps, completion_ids, **columns) -> one list of values a completion; None = not judged
ProcessReward = Callable[..., Sequence[Sequence[float] | None]]
ENDS = {"paragraph": re.compile(r"\n\s*\n"), "tag": re.compile(r"</[\w-]+>")}


def steps_of(text: str, split: str) -> list[str]:
    """Cut a completion after each empty line, or after each closing tag; the parts together are the text."""
    cuts = [0, *(found.end() for found in ENDS[split].finditer(text)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(cuts) if text[start:end].strip()] or [text]


def step_ends(rollout: Rollout, steps: Sequence[str], decode: Callable[[Sequence[int]], str]) -> list[int]:
    """Return how many tokens it takes to the end of each step, [steps]; the last one has all that are left."""
    ends, start, written = [], 0, 0
    for step in steps[:-1]:
        written = rollout.text.index(step, written) + len(step)
        low, high = start, len(rollout.tokens)
        while low < high:  # decoded prefixes only grow
            middle = (low + high) // 2
            low, high = (low, middle) if len(decode(rollout.tokens[:middle])) >= written else (middle + 1, high)
        ends.append(low)
        start = low
    return [*ends, len(rollout.tokens)]


def process_credit(
    function: ProcessReward,
    config: Config,
    groups: Sequence[Group],
    credit: Sequence[Sequence[Credit]],
    decode: Callable[[Sequence[int]], str],
) -> tuple[list[list[Credit]], dict[str, float]]:
    """Add what the steps earn to the outcome's credit; return it, one value a token, and metrics.

    Values are normalised over all steps of a group, with ddof 1 and 1e-4 as group advantages are. ConfigError if the
    function gives another number of values than a completion has steps, or tokens.
    """
    found: list[list[Credit]] = []
    measured: list[float] = []
    by_group = here().spread(groups, partial(_values, function, config))
    for group, outcomes, given in zip(groups, credit, by_group, strict=True):
        judged = [
            _judged(values, rollout, config, decode) for rollout, values in zip(group.rollouts, given, strict=True)
        ]
        everything = [value for values, _ in judged for value in values]
        measured += everything
        centre = float(np.mean(everything)) if everything else 0.0
        spread = float(np.std(everything, ddof=1)) if len(everything) > 1 else 0.0
        rows: list[Credit] = []
        for rollout, outcome, (values, ends) in zip(group.rollouts, outcomes, judged, strict=True):
            earned = np.zeros(len(rollout.tokens))
            for value, end in zip(values, ends, strict=True):
                earned[:end] += (value - centre) / (spread + 1e-4)
            rows.append(tuple((np.array(outcome) + config.process_weight * earned).tolist()))
        found.append(rows)
    metrics = {"process/mean": float(np.mean(measured)), "process/steps": float(len(measured))} if measured else {}
    return found, metrics


def _values(function: ProcessReward, config: Config, group: Group) -> list[list[float] | None]:
    """Ask the function about a group; return its values, [samples]."""
    rollouts = group.rollouts
    steps = [[] if config.process_split == "token" else steps_of(one.text, config.process_split) for one in rollouts]
    columns: dict[str, Any] = {name: [value] * len(rollouts) for name, value in group.prompt.task.columns.items()}
    values = function(
        prompts=[group.prompt.task.prompt] * len(rollouts),
        completions=[one.text for one in rollouts],
        steps=steps,
        completion_ids=[list(one.tokens) for one in rollouts],
        **columns,
    )
    if len(values) != len(rollouts):
        raise ConfigError(
            f"process_reward {config.process_reward} gave {len(values)} lists for {len(rollouts)} completions"
        )
    return [None if row is None else [float(value) for value in row] for row in values]


def _judged(
    values: Sequence[float] | None, rollout: Rollout, config: Config, decode: Callable[[Sequence[int]], str]
) -> tuple[list[float], list[int]]:
    """Return a completion's values and the token each of them ends at."""
    if values is None:
        return [], []
    if config.process_split == "token":
        ends = list(range(1, len(rollout.tokens) + 1))
    else:
        ends = step_ends(rollout, steps_of(rollout.text, config.process_split), decode)
    if len(values) != len(ends):
        raise ConfigError(
            f"process_reward {config.process_reward} gave {len(values)} values for {len(ends)} "
            f"{'tokens' if config.process_split == 'token' else 'steps'}"
        )
    return [float(value) for value in values], ends
