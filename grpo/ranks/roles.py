"""Some ranks sample, the others learn: `grpo.train --samplers 1 --learners 1` as two processes.

At the start of a step the learners give their adapter to the samplers, with its version, the steps it has learned.
They ask for the prompts of the steps that may be sampled beside this one, and collect what they asked for before. A
sampler samples in its main thread, by the newest adapter there is when a step's sampling begins; a second thread takes
part in the collectives, so that the learners wait for nothing but completions.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from grpo.metrics import staleness_metrics
from grpo.model.policy import Policy
from grpo.ranks.ahead import Ask, Groups, timed
from grpo.ranks.alone import here
from grpo.ranks.group import Ranks
from grpo.rollout.ahead import LOOK_SECONDS
from grpo.rollout.order import OrderState
from grpo.runs.interrupt import StopFlag
from grpo.types import Group

if TYPE_CHECKING:
    from grpo.trainer import Trainer

ADAPTER, ASK, COLLECT, END = "adapter", "ask", "collect", "end"


class SamplerRanks:
    """The samplers, as the learners' main threads see them; all learners make the same calls."""

    def __init__(self) -> None:
        self.ranks = _ranks()

    def send(self, policy: Policy, version: int) -> None:
        """Give the samplers the policy's trained leaves."""
        self.ranks.tell_samplers({ADAPTER: version})
        self.ranks.of_first(policy.trainable())

    def begin(self, ask: Ask) -> None:
        """Ask for completions."""
        self.ranks.tell_samplers({ASK: asdict(ask)})

    def parts(self, _: Callable[[], None]) -> list[bytes]:
        """Collect the shares of the oldest ask."""
        self.ranks.tell_samplers({COLLECT: True})
        return self.ranks.from_samplers()

    def metrics(self, groups: Sequence[Group], step: int, seconds: float) -> dict[str, float]:
        """Return how old a step's completions are, and how long sampling took."""
        return {**staleness_metrics(groups, step), "time/sampling": seconds}

    def close(self) -> None:
        """Nothing is open."""


def dismiss() -> None:
    """Let the samplers end, where there are any."""
    if here().samplers:
        _ranks().tell_samplers({END: True})


@dataclass(frozen=True)
class Adapter:
    """A policy's trained leaves, after `version` steps."""

    version: int
    leaves: dict[str, mx.array]


class Sampler:
    """A rank that samples what the learners ask for."""

    def __init__(self, trainer: "Trainer", stop: StopFlag) -> None:
        self.trainer, self.stop, self.ranks = trainer, stop, _ranks()
        trainer.stop = stop
        self.shapes = {name: mx.zeros_like(leaf) for name, leaf in trainer.policy.trainable().items()}
        mx.eval(self.shapes)
        self.newest = Adapter(-1, {})
        self.asked: SimpleQueue[tuple[Ask, Adapter] | BaseException | None] = SimpleQueue()
        self.done: SimpleQueue[bytes] = SimpleQueue()

    def run(self) -> None:
        """Sample until the learners end the run; raises what ends this rank."""
        threading.Thread(target=self._listen, name="listening", daemon=True).start()
        try:
            while (asked := self._next(self.asked)) is not None:
                if isinstance(asked, BaseException):
                    raise asked
                ask, adapter = asked
                if self.newest.version < ask.step:  # another may have come while the last ask was sampled
                    adapter = self.newest
                self.trainer.policy.load_trainable(adapter.leaves)
                self.done.put(timed(partial(self._sampled, self.trainer.share(ask), adapter.version)))
        finally:
            self.trainer.close()

    def _sampled(self, sample: Callable[[], Groups], version: int) -> Groups:
        """Sample, and say on every completion which adapter wrote it."""
        groups, scored = sample()
        return [_versioned(group, version) for group in groups], scored

    def _listen(self) -> None:
        """Do what the learners say, in the thread that takes part in their collectives."""
        try:
            while END not in (said := self.ranks.follow()):
                if ADAPTER in said:
                    self.newest = Adapter(said[ADAPTER], self.ranks.add(self.shapes))
                elif ASK in said:
                    ask = said[ASK]
                    self.asked.put((Ask(**{**ask, "order": OrderState(**ask["order"])}), self.newest))
                else:
                    self.ranks.from_samplers(self._next(self.done))
            self.asked.put(None)
        except BaseException as error:  # raised again in the main thread
            self.asked.put(error)

    def _next(self, queue: "SimpleQueue[Any]") -> Any:
        """Wait for what comes; raises what ends this rank."""
        while True:
            try:
                return queue.get(timeout=LOOK_SECONDS)
            except Empty:
                self.stop.check()


def _versioned(group: Group, version: int) -> Group:
    return replace(group, rollouts=tuple(replace(rollout, version=version) for rollout in group.rollouts))


def _ranks() -> Ranks:
    ranks = here()
    assert isinstance(ranks, Ranks)
    return ranks
