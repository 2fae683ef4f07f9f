"""One completion while it is being decoded."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from grpo.model.experts import UNKNOWN
from grpo.rollout.dialogue import Talk
from grpo.types import StopReason

# From the token a row has just drawn to the tokens it writes in its place, one a step (itself: nothing is steered).
Steer = Callable[[int], Sequence[int]]


@dataclass
class Row:
    """A completion being decoded."""

    prompt: int
    sample: int
    seeds: np.ndarray  # [draws] uint32, one decides a token
    limit: int  # tokens of its own at which its turn is over
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    written: int = 0  # tokens of its own
    drawn: int = 0  # tokens asked for so far, those not looked at yet included
    begin: int = 0  # where its turn begins among the tokens
    turn_ended: StopReason = "stop"
    stop_reason: StopReason | None = None
    talk: Talk | None = None
    steer: Steer | None = None
    forced: deque[int] = field(default_factory=deque)  # tokens it is to write before it draws again
    experts: list[np.ndarray | None] = field(default_factory=list)  # [mixtures, chosen] of each token but the last

    @property
    def going(self) -> bool:
        """Return whether the row is being decoded: neither finished nor waiting for its environment."""
        return self.stop_reason is None and (self.talk is None or self.talk.asked is None)

    def hear(self, experts: np.ndarray | None) -> None:
        """Take in the experts that its last token was sent to, before the next one."""
        if self.tokens:
            self.experts.append(experts)

    def heard(self) -> np.ndarray | None:
        """Return the experts of each token but the last, [time - 1, mixtures, chosen]; None where nobody listened."""
        known = next((one for one in self.experts if one is not None), None)
        if known is None:
            return None
        missing = np.full_like(known, UNKNOWN)
        return np.stack([missing if one is None else one for one in self.experts])

    def read(self, tokens: Sequence[int], limit: int, steer: Steer | None) -> None:
        """Begin a turn after an environment's tokens."""
        self.tokens += tokens
        self.experts += [None] * len(tokens)
        self.logprobs += [0.0] * len(tokens)
        self.entropies += [0.0] * len(tokens)
        self.begin, self.drawn, self.limit = len(self.tokens), self.written, limit
        self.steer = steer
        self.forced.clear()
