"""Combine measured rewards into one number: clip, gate, weigh, sum. Plain lists in and out, no rewards are run here.

What can be farmed alone counts where something else holds: `{"accuracy": "format"}` gives accuracy only to completions
that keep the format, `{"reasoning_steps": "accuracy"}` pays for steps only where the answer is right.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Values = dict[str, list["float | None"]]
Missing = Literal["exclude", "zero", "ignore"]
LARGEST = 1e15  # of a reward or a total: advantages and gradients are squared in float32, which ends at 3.4e38
HOLDS = 0.5  # a gate holds from here on, if it does not say from where
_GATE = re.compile(r"([^<>=\s]+)(?: ?>= ?(-?\d+(?:\.\d+)?))?", re.ASCII)


@dataclass(frozen=True)
class Gate:
    """The reward that has to hold, and from which value on it does."""

    reward: str
    at_least: float

    def state(self, value: float | None) -> bool | None:
        """True = open, False = closed, None = the gate's reward has no value."""
        return None if value is None else value >= self.at_least


def read_gate(text: Any) -> Gate:
    """ "format" holds from 0.5 on; "language>=0.8" from 0.8 on. ValueError for anything else."""
    found = _GATE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'must read NAME or NAME>=NUMBER, such as "format" or "language>=0.8", got {text!r}')
    return Gate(found[1], HOLDS if found[2] is None else float(found[2]))


@dataclass(frozen=True)
class Counted:
    """The terms of the sum."""

    values: Values  # reward name -> one value a completion, clipped and gated
    totals: list[float | None]  # weighted sum; None without any reward, with one missing, or over LARGEST
    applied: dict[str, int]  # "NAME/clipped", "NAME/gated", "NAME/gate_unknown" -> completions
    too_large: dict[str, int] = field(default_factory=dict)  # reward that made a total too large -> completions


@dataclass(frozen=True)
class Combination:
    """Weights, bounds and gates of named rewards.

    Args:
        weights: reward name -> weight; 0 = measured, and may be a gate, but not counted.
        clip: reward name -> (low, high) that its values are held between.
        gates: reward name -> Gate on another reward's measured value. A closed gate withholds what was earned (a
            positive value becomes 0) and forgives nothing (a negative one stays). Where the gate's reward has no value
            nobody knows: the gated one is left out as well.
        missing: what a completion gets for a counted reward that it lacks and others of its group have: "exclude" = no
            total, so that it is neither worse nor better than they are, "zero" = 0, "ignore" = the sum of its others. A
            reward that the whole group lacks does not apply to it and is left out of every total.
    """

    weights: Mapping[str, float]
    clip: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    missing: Missing = "exclude"

    def __post_init__(self) -> None:
        if self.missing not in get_args(Missing):
            raise ValueError(f"missing_rewards must be one of {', '.join(get_args(Missing))}, got {self.missing!r}")
        for name, weight in self.weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
                raise ValueError(f"reward_weights.{name} must be a finite number, got {weight!r}")
        for name, bounds in self.clip.items():
            self._known("reward_clip", name, name)
            if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or not bounds[0] < bounds[1]:
                raise ValueError(f"reward_clip.{name} must be [low, high] with low < high, got {list(bounds)}")
        for name, gate in self.gates.items():
            self._known("reward_gates", name, name)
            self._known("reward_gates", name, gate.reward)
            if gate.reward == name:
                raise ValueError(f"reward_gates.{name} must be another reward than {name} itself")

    def _known(self, key: str, name: str, wanted: str) -> None:
        if wanted not in self.weights:
            raise ValueError(f"{key}.{name} speaks of {wanted}, which has no weight: give it one (0 = measured only)")

    def count(self, measured: Values, groups: Sequence[int] | None = None) -> Counted:
        """Clip, gate and sum; every list of `measured` has one value a completion.

        `groups` says how many completions each group has, in order; None = all are of one.
        """
        applied = Counter({f"{name}/clipped": 0 for name in self.clip} | {f"{name}/gated": 0 for name in self.gates})
        values = {name: self._one(name, measured, applied) for name in measured}
        start = 0
        for size in [len(next(iter(values.values()), ()))] if groups is None else groups:
            self._settle_missing(values, range(start, start := start + size))
        rows = zip(*values.values(), strict=True) if values else ()
        too_large: Counter[str] = Counter()
        return Counted(values, [self._total(row, too_large) for row in rows], dict(applied), dict(too_large))

    def _one(self, name: str, measured: Values, applied: Counter[str]) -> list[float | None]:
        low, high = self.clip.get(name, (-math.inf, math.inf))
        gate = self.gates.get(name)
        result: list[float | None] = []
        for row, value in enumerate(measured[name]):
            if value is not None and not low <= value <= high:
                value = min(max(value, low), high)
                applied[f"{name}/clipped"] += 1
            if gate is not None and value is not None:
                state = gate.state(measured[gate.reward][row])
                if state is None:
                    value = None
                    applied[f"{name}/gate_unknown"] += 1
                elif not state:
                    value = min(value, 0.0)
                    applied[f"{name}/gated"] += 1
            result.append(value)
        return result

    def _settle_missing(self, values: Values, group: range) -> None:
        """Fill in, or take out, completions of a group that lack a reward which others of it have."""
        lacking = []
        for name, column in values.items():
            without = [row for row in group if column[row] is None]
            if self.weights[name] and len(without) < len(group):
                lacking += [(name, row) for row in without]
        for name, row in lacking:
            if self.missing == "zero":
                values[name][row] = 0.0
            elif self.missing == "exclude":
                for column in values.values():
                    column[row] = None

    def _total(self, row: Sequence[float | None], too_large: Counter[str]) -> float | None:
        pairs = zip(self.weights.items(), row, strict=True)
        shares = {name: weight * value for (name, weight), value in pairs if value is not None}
        if not shares:
            return None
        largest = max(shares, key=lambda name: abs(shares[name]))
        total = math.fsum(shares.values()) if abs(shares[largest]) <= LARGEST else math.inf
        if abs(total) <= LARGEST:
            return total
        too_large[largest] += 1
        return None


def read_gates(gates: Mapping[str, Any]) -> dict[str, Gate]:
    """Gates as a config writes them; ValueError names the one that can't be read."""
    found = {}
    for name, text in gates.items():
        try:
            found[name] = read_gate(text)
        except ValueError as error:
            raise ValueError(f"reward_gates.{name} {error}") from None
    return found
