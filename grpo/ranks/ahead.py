"""Sample the next steps over ranks while this one is learned from: shares are begun ahead and gathered in their step.

A share is what one rank samples and scores of the next prompts of an order. It is begun without a collective, or with
one of the main thread, so that all ranks make the same collectives in the same order. Only the first draw of a step is
begun ahead: with dynamic sampling, what a step draws after it is sampled when the step begins.
"""

import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from threading import Event
from typing import Protocol

from grpo.ranks.alone import here
from grpo.ranks.records import pack
from grpo.ranks.sampling import merged
from grpo.rollout.ahead import LOOK_SECONDS, Sampled
from grpo.rollout.filling import Filling
from grpo.rollout.order import OrderState
from grpo.scoring import GroupScores
from grpo.types import Group, Prompt

SECONDS = struct.Struct("<d")  # that a share took, before its groups


@dataclass(frozen=True)
class Ask:
    """The next `count` prompts of an order, to be sampled for a step; `before` of the step's were drawn earlier."""

    order: OrderState
    count: int
    step: int
    before: int = 0


Groups = tuple[list[Group], list[GroupScores]]  # and their rewards
Share = Callable[[Ask], Callable[[], Groups]]  # takes this rank's share of the prompts, and returns what samples it


class Shares(Protocol):
    """Whoever samples."""

    def begin(self, ask: Ask) -> None:
        """Begin to sample; what was begun first is sampled first."""

    def parts(self, check: Callable[[], None]) -> list[bytes]:
        """Return the shares of the oldest ask, by rank that samples; `check` is called meanwhile, and may raise."""

    def close(self) -> None:
        """Free threads."""


def timed(sample: Callable[[], Groups]) -> bytes:
    """Return a share as bytes: the seconds it took, groups and rewards."""
    start = time.monotonic()
    groups, scored = sample()
    return SECONDS.pack(time.monotonic() - start) + pack(groups, scored)


class OwnShares:
    """Every rank samples its share in a thread, by servers, while it learns."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampling")
        self.begun: deque[Future[bytes]] = deque()

    def begin(self, ask: Ask) -> None:
        """Begin in the thread."""
        self.begun.append(self.thread.submit(timed, self.share(ask)))

    def parts(self, check: Callable[[], None]) -> list[bytes]:
        """Wait for this rank's share and gather all."""
        share = self.begun.popleft()
        while not wait([share], LOOK_SECONDS).done:
            check()
        return here().gather_bytes(share.result())

    def close(self) -> None:
        """Drop what has not begun."""
        self.thread.shutdown(wait=False, cancel_futures=True)


class AheadOverRanks:
    """Gives the trainer a step's batch, as `grpo.rollout.ahead.Ahead` does in one process."""

    def __init__(self, filling: Filling, fill: Callable[[OrderState, int], Sampled], shares: Shares) -> None:
        """`fill` samples the batch of a step by `sampled`."""
        self.filling, self.config, self.fill, self.shares = filling, filling.config, fill, shares
        certain = not (self.config.dynamic_sampling or filling.follows_rates)  # which prompts come after the next step
        self.steps_ahead = self.config.max_staleness if certain else min(self.config.max_staleness, 1)
        self.asked: deque[tuple[Ask, OrderState]] = deque()  # with the order's state after it
        self.over = Event()
        self.look: Callable[[], None] = lambda: None
        self.seconds = 0.0  # that the sampling of the step took

    def take(self, order: OrderState, step: int, check: Callable[[], None]) -> Sampled:
        """Return the batch of a step; `check` is called while it is waited for, and may raise."""
        self.look, self.seconds = check, 0.0
        return replace(self.fill(order, step), decoding=self.seconds)

    def go_on(self, order: OrderState, step: int) -> None:
        """Begin with the batches that step `step` may learn beside; `order` is the state after its own batch."""
        last = min(step + self.steps_ahead, self.config.steps - 1)
        for later in range(step + 1 + len(self.asked), last + 1):
            self._begin(Ask(self.asked[-1][1] if self.asked else order, self.config.prompts_per_step, later))

    def sampled(self, order: OrderState, prompts: Sequence[Prompt], step: int, before: int) -> Groups:
        """Return the groups of the prompts that come next in an order, and their rewards."""
        if not self.asked:
            self._begin(Ask(order, len(prompts), step, before))
        ask, _ = self.asked.popleft()
        assert (ask.step, ask.before, ask.order.position) == (step, before, order.position)
        parts = self.shares.parts(self.look)
        self.seconds += max(SECONDS.unpack_from(part)[0] for part in parts)
        return merged([part[SECONDS.size :] for part in parts], prompts)

    def check(self) -> None:
        """End the sampling in a thread, by CancelledError, once the run is over."""
        if self.over.is_set():
            raise CancelledError

    def close(self) -> None:
        """End what is being sampled and drop the rest."""
        self.over.set()
        self.shares.close()

    def _begin(self, ask: Ask) -> None:
        self.asked.append((ask, self.filling.order.take(ask.order, ask.count, ask.step)[1]))
        self.shares.begin(ask)
