"""Choose the tasks of a step: each epoch has its own order, without tasks that teach nothing now.

Everything that a resumed run needs is in `OrderState`; the order itself is derived from the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.runs.loop import places
from grpo.types import Prompt

SEED = 7  # of the order of tasks, beside the run's


@dataclass
class OrderState:
    """A run's position in its data, as plain values."""

    position: int = 0  # tasks taken or passed over so far, over all epochs
    pass_rates: dict[str, float] = field(default_factory=dict)  # place of a task -> pass rate of its last group
    put_off: dict[str, int] = field(default_factory=dict)  # place of a hopeless task -> epoch it comes back in
    successes: dict[str, Any] = field(default_factory=dict)  # place of a task -> a rare success
    epoch: int = 0  # of a stream: passes over it
    row: int = 0  # of a stream: its rows before the buffer
    offset: int = 0  # of a stream: prompts taken of the buffer


class PromptOrder:
    """Takes tasks in order; with a curriculum, mastered ones are dropped and hopeless ones put off."""

    def __init__(self, prompts: Sequence[Prompt], config: Config) -> None:
        """ConfigError if difficulty_column is set and a task has no number there."""
        self.prompts, self.config = prompts, config
        self.pools = difficulty_pools(prompts, config)

    def take(self, state: OrderState, count: int, step: int) -> tuple[list[int], OrderState]:
        """Return the places of the next `count` tasks and the state after them; `state` itself stays as it is.

        If a whole epoch is passed over, the next task is taken whatever its pass rate.
        """
        n, position, passed_over, taken = len(self.prompts), state.position, 0, list[int]()
        orders: dict[int, list[int]] = {}
        while len(taken) < count:
            epoch, offset = divmod(position, n)
            if epoch not in orders:
                whole = range(epoch * n, (epoch + 1) * n)
                shuffled = self.config.shuffle_dataset
                orders[epoch] = places(n, whole, (self.config.seed, SEED)) if shuffled else list(range(n))
            place = orders[epoch][offset]
            position += 1
            if passed_over >= n or self._is_due(state, place, epoch, step):
                taken.append(place)
                passed_over = 0
            else:
                passed_over += 1
        return taken, replace(state, position=position)

    def learned(self, state: OrderState, rates: dict[int, float]) -> OrderState:
        """Return the state after groups of these places had these pass rates."""
        config, epoch = self.config, state.position // len(self.prompts)
        pass_rates, put_off = dict(state.pass_rates), dict(state.put_off)
        for place, rate in rates.items():
            pass_rates[str(place)] = rate
            put_off.pop(str(place), None)
            if config.curriculum_hopeless is not None and rate <= config.curriculum_hopeless:
                put_off[str(place)] = epoch + 1 + config.curriculum_pause
        return replace(state, pass_rates=pass_rates, put_off=put_off)

    def passes(self, state: OrderState) -> tuple[float, float]:
        """Return how often the run has gone through the tasks, and will have at its end."""
        n = len(self.prompts)
        return state.position / n, self.config.steps * self.config.prompts_per_step / n

    def _is_due(self, state: OrderState, place: int, epoch: int, step: int) -> bool:
        mastered = self.config.curriculum_mastered
        if self.pools is not None and self.pools[place] > self._open_pool(step):
            return False
        if mastered is not None and state.pass_rates.get(str(place), 0.0) >= mastered:
            return False
        return epoch >= state.put_off.get(str(place), 0)

    def _open_pool(self, step: int) -> int:
        """Return the hardest pool that is open: they open evenly over the first half of the run."""
        return 2 * step * self.config.difficulty_pools // self.config.steps


def difficulty_pools(prompts: Sequence[Prompt], config: Config) -> list[int] | None:
    """Return the pool of each task by its difficulty_column, 0 = the easiest; None without one."""
    column = config.difficulty_column
    if column is None:
        return None
    difficulties = []
    for prompt in prompts:
        value = prompt.task.columns.get(column)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(
                f"difficulty_column {column}: task {prompt.task.id} has {value!r} there, a number is needed"
            )
        difficulties.append(float(value))
    ranked = sorted(range(len(prompts)), key=lambda place: difficulties[place])
    pools = [0] * len(prompts)
    for rank, place in enumerate(ranked):
        pools[place] = rank * config.difficulty_pools // len(prompts)
    return pools


def length_limit(config: Config, step: int) -> int:
    """Return the tokens a completion of this step may have: the last entry of length_schedule that has begun."""
    begun = [limit for first, limit in config.length_schedule if first <= step]
    return begun[-1] if begun else config.max_completion_length
