"""What a process is to a run that has no other: rank 0 of 1, nothing is sent. Needs no mlx."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from grpo.config.sections import ConfigError

if TYPE_CHECKING:
    import mlx.core as mx

Item = TypeVar("Item")
Made = TypeVar("Made")


class RankLost(RuntimeError):
    """Another rank is gone or has failed, and the run can't go on; the message names it."""


class Alone:
    """The only process of its run. `grpo.ranks.group.Ranks` is one of several and has the same methods."""

    rank = 0
    size = 1
    beside = 1  # ranks on this machine
    writes = True  # whether this rank writes the run directory and prints
    sharded = False  # whether every rank holds a part of the model, and all run the same rows
    scores = True  # whether this rank calls the rewards
    stuck = False  # whether a collective never ended, so that the process can't end in order
    processes = 1  # that a launcher started; `size` of them share the work that this rank has a share of
    samplers = 0  # ranks that sample for those that learn
    follows = False  # whether this rank samples for those that learn

    def places(self, count: int) -> range:
        """Return which of `count` items are this rank's."""
        return range(self.rank, count, self.size)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank. A value is what JSON can hold."""
        return [value]

    def gather_bytes(self, mine: bytes) -> list[bytes]:
        """Return the bytes of all ranks, by rank."""
        return [mine]

    def from_first(self, make: Callable[[], Made]) -> Made:
        """Return what `make` gives on rank 0, as JSON hands it over; the others do not call it."""
        return make()

    def spread(self, items: Sequence[Item], work: Callable[[Item], Any]) -> list[Any]:
        """Return work(item) of all items, in order; every rank works on its places. Results go over as JSON."""
        return [work(item) for item in items]

    def first_before_others(self, work: Callable[[], Made]) -> Made:
        """Run `work` on every rank, on the others only when rank 0 has done it."""
        return work()

    def add(self, leaves: "dict[str, mx.array]") -> "dict[str, mx.array]":
        """Return the sums over all ranks, by name."""
        return leaves

    def of_first(self, leaves: "dict[str, mx.array]") -> "dict[str, mx.array]":
        """Return rank 0's arrays; the other ranks give arrays of the same names, shapes and types."""
        return leaves

    def uninterrupted(self) -> contextlib.AbstractContextManager[None]:
        """Within this context, collectives are not left on a signal."""
        return contextlib.nullcontext()

    def share_model(self, wanted: bool) -> None:
        """Let every rank hold a part of the model if that is wanted; ConfigError where there is one process."""
        if wanted:
            raise ConfigError("tensor_parallel needs several processes: mlx.launch -n 2 -- python -m grpo.train ...")

    def take_roles(self) -> None:
        """From now on the last `samplers` ranks sample for the others."""

    def agree(self, value: Any) -> bool:
        """Return whether all ranks have the same value."""
        return True

    def require_same(self, facts: dict[str, Any]) -> None:
        """Raise ConfigError on all ranks if a fact differs from rank 0's."""

    def lost_by(self, error: RuntimeError) -> RankLost | None:
        """Return the loss of a rank that an error stands for; None if it is another error."""
        return None

    def says_nothing_of(self, error: BaseException) -> bool:
        """Return whether rank 0 prints this error, and this rank need not."""
        return False

    def look(self) -> None:
        """Raise what ends this rank: another is lost or has failed, or all are to stop."""

    def traffic(self) -> dict[str, float]:
        """Return the metrics of what was sent since the last call."""
        return {}

    def meet(self, value: Any) -> list[Any]:
        """Gather values, and note how long each rank worked since the last time."""
        return [value]

    def slow(self, step: int) -> list[str]:
        """Return a line that names a rank that is slower than the others."""
        return []

    @contextlib.contextmanager
    def takes_over(self, output: Path, step: int) -> Iterator[bool]:
        """Within this context, after a loss, this rank is to save the run at `step` if the value is True."""
        yield True


ALONE = Alone()
_current: Alone = ALONE


def here() -> Alone:
    """Return what this process is to the run under way."""
    return _current


def set_here(ranks: Alone) -> None:
    """Say what this process is from now on."""
    global _current
    _current = ranks
