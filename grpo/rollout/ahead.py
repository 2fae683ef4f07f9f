"""Sample the next steps while this one is learned from, at most `max_staleness` steps ahead.

With 0, a step's batch is sampled when the step begins, in the trainer's thread: what a run without any of this does.
Otherwise one thread samples the batches of steps t + 1 to t + max_staleness in their order while the trainer learns
from that of step t. Every batch takes the newest adapter there is when its sampling begins, so that a completion is
learned from at most max_staleness steps after the adapter that wrote it. A run that is stopped throws away what was
sampled ahead and samples it again when it is resumed: no prompt is lost or taken twice.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from grpo.rollout.filling import Batch
from grpo.rollout.order import OrderState

LOOK_SECONDS = 0.2  # between two looks at whether the run was told to stop


@dataclass(frozen=True)
class Sampled:
    """A step's batch and how long it took, in seconds."""

    batch: Batch
    decoding: float  # until the last completion was there
    rewarding: float  # from then until all rewards were


class Ahead:
    """Gives the trainer a step's batch, sampled now or before."""

    def __init__(self, fill: Callable[[OrderState, int], Sampled], *, max_staleness: int, steps: int) -> None:
        """`fill` samples the batch of a step, whose prompts follow an order's state."""
        self.fill, self.max_staleness, self.steps = fill, max_staleness, steps
        self.waiting: deque[Future[Sampled]] = deque()  # the batches of the steps after the last one taken
        self.over = threading.Event()
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampling") if max_staleness else None

    def take(self, order: OrderState, step: int, check: Callable[[], None]) -> Sampled:
        """Return the batch of a step; `check` is called while it is waited for, and may raise."""
        if self.thread is None:
            return self.fill(order, step)
        if not self.waiting:
            self._begin(lambda: order, step)
        while not wait([self.waiting[0]], LOOK_SECONDS).done:
            check()
        return self.waiting.popleft().result()

    def go_on(self, order: OrderState, step: int) -> None:
        """Begin with the batches that step `step` may learn beside; `order` is the state after its own batch."""
        if self.thread is None:
            return
        for later in range(step + 1 + len(self.waiting), min(step + self.max_staleness, self.steps - 1) + 1):
            if self.waiting:
                before = self.waiting[-1]
                self._begin(lambda before=before: before.result().batch.order, later)  # type: ignore[misc]
            else:
                self._begin(lambda: order, later)

    def check(self) -> None:
        """End the sampling in the thread, by CancelledError, once the run is over."""
        if self.over.is_set():
            raise CancelledError

    def close(self) -> None:
        """End what is being sampled and drop the rest."""
        self.over.set()
        if self.thread is not None:
            self.thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, order: Callable[[], OrderState], step: int) -> None:
        assert self.thread is not None
        self.waiting.append(self.thread.submit(lambda: self.fill(order(), step)))
