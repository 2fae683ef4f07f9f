"""Arguments of TRL's rewards besides prompts, completions and columns: trainer_state, log_extra, log_metric."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CallState:
    """The `trainer_state` of a reward: plain values, with the names of transformers' TrainerState."""

    global_step: int = 0  # rollout batches learned from so far
    max_steps: int = 1  # of the run; a reward that is only tried out may divide by it as well
    epoch: float = 0.0  # passes over the prompts so far
    num_train_epochs: float = 1.0  # passes over the prompts in the whole run


@dataclass
class Logged:
    """Values that a call of a reward logged."""

    columns: dict[str, list[Any]] = field(default_factory=dict)  # by log_extra: name -> one value a completion
    metrics: dict[str, list[float]] = field(default_factory=dict)  # by log_metric: name -> values, averaged over a step

    def log_extra(self, column: str, values: Iterable[Any]) -> None:
        """Keep a column, one value a completion, for the completions file."""
        self.columns[str(column)] = [_plain(value) for value in values]

    def log_metric(self, name: str, value: float) -> None:
        """Keep a value of a metric; a step logs the mean of what its calls gave."""
        self.metrics.setdefault(str(name), []).append(float(value))

    def add(self, other: "Logged") -> None:
        """Take what another reward logged in the same call."""
        self.columns |= other.columns
        for name, values in other.metrics.items():
            self.metrics.setdefault(name, []).extend(values)

    def arguments(self, state: CallState) -> dict[str, Any]:
        """The three keyword arguments of a call."""
        return {"trainer_state": state, "log_extra": self.log_extra, "log_metric": self.log_metric}


def _plain(value: Any) -> Any:
    """A value as JSON holds it; numpy's scalars and arrays as numbers, anything else as its text."""
    try:
        return json.loads(
            json.dumps(value, default=lambda other: other.tolist() if hasattr(other, "tolist") else str(other))
        )
    except (TypeError, ValueError):
        return str(value)
