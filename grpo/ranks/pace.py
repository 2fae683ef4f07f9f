"""Find the rank that the others wait for."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 5  # updates of the mean
SLOW = 1.5  # times the mean of the others
QUIET_STEPS = 20  # until a slow rank is named again


@dataclass(frozen=True)
class Slow:
    """A slow rank, and what is known of it."""

    rank: int
    said: str


class Pace:
    """Remembers how long each rank worked in the last steps, the waits left out."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.last: deque[Sequence[float]] = deque(maxlen=WINDOW)
        self.said_at: int | None = None

    def note(self, busy_seconds: Sequence[float]) -> None:
        """Hear how long each rank worked."""
        self.last.append(busy_seconds)

    def metrics(self) -> dict[str, float]:
        """Return ranks/slowest, the rank that worked longest, and ranks/imbalance, its time over the mean.

        An imbalance of 1 is none: no rank waits for another.
        """
        if not self.last:
            return {}
        busy = np.array(self.last[-1])
        return {"ranks/slowest": float(np.argmax(busy)), "ranks/imbalance": float(busy.max() / max(busy.mean(), 1e-9))}

    def slow(self, step: int) -> Slow | None:
        """Return the rank that worked SLOW times as long as the others on the mean of WINDOW steps."""
        if len(self.last) < WINDOW or (self.said_at is not None and step - self.said_at < QUIET_STEPS):
            return None
        means = np.mean(np.array(self.last), axis=0)  # [ranks]
        slowest = int(np.argmax(means))
        others = float(np.mean(np.delete(means, slowest)))
        if means[slowest] < SLOW * others:
            return None
        self.said_at = step
        return Slow(
            slowest,
            f"{means[slowest]:.1f} s of work an update where the others take {others:.1f} s "
            f"(mean of {WINDOW} updates): all wait for it",
        )
