"""This process as one of several: gathering values, summing arrays, and noticing that another rank is gone."""

import contextlib
import json
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from grpo.config.sections import ConfigError
from grpo.ranks.alone import Alone, Item, Made, RankLost
from grpo.ranks.channel import Channel, SharedConfigError
from grpo.ranks.fused import fused
from grpo.ranks.line import Line, settle
from grpo.ranks.pace import Pace
from grpo.runs.interrupt import Interrupted, StopFlag, TrainingFailed
from rewards.printable import say

REASON_SECONDS = 5.0  # to learn which rank is lost, when a collective fails
HEED_SECONDS = 15.0  # for the main thread to end unasked
LOCK_SECONDS = 5.0  # until a lost rank's lock on the run directory is free
VALUES, SUM, TOLD = range(3)  # what rank 0 gives to be gathered: what it says, the shape of a sum, words for samplers


class Header(NamedTuple):
    """What a process says of the bytes it gives to be gathered."""

    turn: int
    length: int
    checksum: int
    kind: int


class Ranks(Alone):
    """One of several ranks.

    Every method but `places`, `look`, `slow`, `traffic` and `takes_over` is a collective: all ranks call it, in the
    same order. While one waits it may raise RankLost or ConfigError, if another rank ends, or Interrupted, if all are
    told to stop.
    """

    def __init__(self, group: mx.distributed.Group, line: Line, stop: StopFlag) -> None:
        self.rank, self.processes = group.rank(), group.size()
        self.first, self.size = 0, self.processes  # the ranks that work alike: this one's peers and itself
        self.writes = self.rank == 0
        self.pace = Pace(self.size)
        self._group, self._line, self._stop = group, line, stop
        self._sent = 0  # bytes, since the last `traffic`
        self._sending = self._waiting = 0.0  # seconds, since then
        self._met, self._idle = time.monotonic(), 0.0  # the last `meet`, and seconds in collectives since
        self._turn = 0  # of gathering, the same on all ranks
        self._forwarded = self._uninterrupted = False
        self.channel: Channel | None = None

    @property
    def stuck(self) -> bool:  # type: ignore[override]
        """Return whether a collective never ended."""
        return self._line.stuck

    @property
    def scores(self) -> bool:  # type: ignore[override]
        """Return whether this rank calls the rewards: of rows that all ranks have, rank 0 does."""
        return not self.sharded or self.rank == 0

    def places(self, count: int) -> range:
        """Return which of `count` items are this rank's: all, where every rank holds a part of the model."""
        return range(count) if self.sharded else range(self.rank - self.first, count, self.size)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank."""
        return [json.loads(part) for part in self.gather_bytes(json.dumps(value).encode())]

    def gather_bytes(self, mine: bytes) -> list[bytes]:
        """Return the bytes of all ranks, by rank: first how many, then all padded to the longest."""
        return self._gathered(mine, self._headers(mine))[: self.size]

    def _gathered(self, mine: bytes, headers: Sequence[Header]) -> list[bytes]:
        """Return the bytes of all processes, samplers too."""
        widest = max(header.length for header in headers)
        if widest == 0:
            return [b""] * self.processes
        padded = np.frombuffer(mine.ljust(widest, b"\0"), dtype=np.uint8)
        whole = self._all_gather(padded).tobytes()
        parts = [whole[at * widest : at * widest + header.length] for at, header in enumerate(headers)]
        if any(zlib.crc32(part) != header.checksum for part, header in zip(parts, headers, strict=True)):
            raise self._broken("other bytes than were sent")
        return parts

    def from_first(self, make: Callable[[], Made]) -> Made:
        """Return what `make` gives on rank 0."""
        made: Made = self.gather(make() if self.rank == 0 else None)[0]
        return made

    def spread(self, items: Sequence[Item], work: Callable[[Item], Any]) -> list[Any]:
        """Return work(item) of all items, in order, each done by the rank whose place it is."""
        if self.sharded:
            return [work(item) for item in items]
        by_rank = self.gather([work(items[place]) for place in self.places(len(items))])
        return [by_rank[place % self.size][place // self.size] for place in range(len(items))]

    def first_before_others(self, work: Callable[[], Made]) -> Made:
        """Run `work` on rank 0, then on the others."""
        if self.rank == 0:
            made = work()
            self.gather(None)
            return made
        self.gather(None)
        return work()

    def add(self, leaves: dict[str, mx.array]) -> dict[str, mx.array]:
        """Return the sums over all ranks; leaves of a type go over together in few collectives.

        No rank has them before all ranks were there to the end.
        """
        total: dict[str, mx.array] = {}
        for part in fused(leaves):
            if self.samplers:
                shape = [str(next(iter(part.values())).dtype), sum(leaf.size for leaf in part.values())]
                self._tell(json.dumps(shape).encode(), SUM)
            total |= self._sum(part)
        self._headers(b"")
        return {name: total[name] for name in leaves}

    def of_first(self, leaves: dict[str, mx.array]) -> dict[str, mx.array]:
        """Return rank 0's arrays: the sum of those and of zeros."""
        return self.add(leaves if self.rank == 0 else {name: mx.zeros_like(leaf) for name, leaf in leaves.items()})

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Within this context, no collective is left on a signal: an update is made by all ranks or by none."""
        self._uninterrupted = True
        try:
            yield
        finally:
            self._uninterrupted = False

    def share_model(self, wanted: bool) -> None:
        """Let every rank hold a part of the model if that is wanted.

        Its own collectives run in the main thread, which a lost rank may leave waiting for ever, MLX's writer of files
        too: another thread ends the process then, and the newest checkpoint is what is left.
        """
        self.sharded = wanted
        if wanted:
            threading.Thread(target=self._look_after, daemon=True).start()

    def take_roles(self) -> None:
        """From now on the last `samplers` ranks sample for the others, which go on as if they were all there are."""
        learners = self.processes - self.samplers
        self.follows = self.samplers > 0 and self.rank >= learners
        self.first, self.size = (learners, self.samplers) if self.follows else (0, learners)
        self.pace = Pace(self.size)

    def tell_samplers(self, words: Any) -> None:
        """Give the samplers what JSON can hold; for the ranks that learn, all of which call it with the same."""
        self._tell(json.dumps(words).encode(), TOLD)

    def follow(self) -> Any:
        """Take part with nothing in what the learners gather and sum until they tell the samplers something; return it.

        MLX's ring can't be cut into groups: all processes take part in every collective.
        """
        while True:
            headers = self._headers(b"")
            said = self._gathered(b"", headers)[0]
            if headers[0].kind == TOLD:
                return json.loads(said)
            if headers[0].kind == SUM:
                dtype, size = json.loads(said)
                self._sum({"": mx.zeros(size, getattr(mx, dtype.rpartition(".")[2]), stream=mx.cpu)})

    def from_samplers(self, mine: bytes = b"") -> list[bytes]:
        """Return what each sampler gives, by rank; the learners give nothing."""
        return self._tell(mine, VALUES)[self.processes - self.samplers :]

    def agree(self, value: Any) -> bool:
        """Return whether all ranks have the same value."""
        values = self.gather(value)
        return all(other == values[0] for other in values)

    def require_same(self, facts: dict[str, Any]) -> None:
        """Raise ConfigError on all ranks if a fact differs from rank 0's; the first such fact is named."""
        first, *others = self.gather(facts)
        for rank, other in enumerate(others, 1):
            for name in first.keys() | other.keys():
                if first.get(name) != other.get(name):
                    raise SharedConfigError(
                        f"the ranks differ in {name}: rank 0 has {_short(first.get(name))}, {self.name(rank)} has "
                        f"{_short(other.get(name))}; start all with the same config, code, model and data"
                    )

    def name(self, rank: int) -> str:
        """Return what messages call a rank by."""
        return self.channel.names[rank] if self.channel else f"rank {rank}"

    def decide(self, received: int | None) -> int | None:
        """Return the signal by which this rank is to stop now: rank 0 decides, the others pass theirs on to it."""
        if self.channel is None:
            return received
        self.channel.check()
        if self.rank == 0:
            return received if received is not None else self.channel.signalled
        if received is not None and not self._forwarded:
            self._forwarded = True
            self.channel.tell(kind="signal", number=received)
        return None

    def look(self) -> None:
        """Raise what ends this rank; a signal that came here is left for `StopFlag.check`."""
        if self.channel is not None:
            self.channel.check()

    def meet(self, value: Any) -> list[Any]:
        """Gather values, and note how long each rank worked since the last time, waits and sending left out."""
        now = time.monotonic()
        met = self.gather([value, now - self._met - self._idle])
        self._met, self._idle = time.monotonic(), 0.0
        self.pace.note([busy for _, busy in met])
        return [one for one, _ in met]

    def slow(self, step: int) -> list[str]:
        """Return a line that names a rank that is slower than the others."""
        found = self.pace.slow(step)
        return [] if found is None else [f"{self.name(found.rank)} is slow: {found.said}"]

    def traffic(self) -> dict[str, float]:
        """Return ranks/bytes, /seconds, /wait_seconds since the last call, and the pace of the last step.

        Bytes are those this rank sends in a ring: 2 (n - 1) / n of what is summed, n - 1 times what it gives to be
        gathered. Seconds are those of the collectives, the wait is for ranks that are not there yet.
        """
        found = {
            "ranks/bytes": float(self._sent),
            "ranks/seconds": self._sending,
            "ranks/wait_seconds": self._waiting,
            **self.pace.metrics(),
        }
        self._sent, self._sending, self._waiting = 0, 0.0, 0.0
        return found

    @contextlib.contextmanager
    def takes_over(self, output: Path, step: int) -> Iterator[bool]:
        """Within this context, this rank is to save if the value is True: it is rank 0, or rank 0 is lost.

        Several that share the directory save one after the other; each on its own machine has its own.
        """
        from grpo.runs.checkpoint import lock

        if self.rank == 0:
            yield True
            return
        if self.channel is None or 0 not in self.channel.lost:
            yield False
            return
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                handle = lock(output)
                break
            except ConfigError:
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(0.2)
        with handle:
            later = any(path.name > f"step_{step:06d}" for path in (output / "checkpoints").glob("step_*"))
            self.writes = not later
            yield self.writes

    def lost_by(self, error: RuntimeError) -> RankLost | None:
        """Return the loss that an error stands for, if it does: MLX's own where a collective of the model failed."""
        if self.sharded:
            settle()
        if isinstance(error, RankLost):
            return error
        if not self.sharded or self.channel is None or isinstance(error, TrainingFailed):
            return None
        self.channel.wait_for_end(REASON_SECONDS)
        self._line.stuck = True
        try:
            self.channel.check()
        except RankLost as lost:
            return lost
        return None

    def says_nothing_of(self, error: BaseException) -> bool:
        """Return whether rank 0 prints this error, and this rank need not."""
        shared = isinstance(error, RankLost | SharedConfigError | Interrupted | TrainingFailed)
        return shared and self.rank != 0 and (self.channel is None or 0 not in self.channel.lost)

    def part(self, error: BaseException | None) -> None:
        """Tell the others how this rank ends, and close the channel."""
        if self.channel is None:
            return
        if error is None or isinstance(error, RankLost | SharedConfigError):
            self.channel.part(kind="bye")
        elif isinstance(error, Interrupted):
            number = error.exit_code - 128
            self.channel.part(**({"kind": "stop", "rank": 0, "number": number} if self.rank == 0 else {"kind": "bye"}))
        else:
            from envs import DataError

            wrong = isinstance(error, ConfigError | DataError)
            text = " ".join(str(error).split()) if wrong else f"{type(error).__name__}: {' '.join(str(error).split())}"
            self.channel.part(kind="failed", rank=self.rank, text=text[:1000], input=wrong)

    def _look_after(self) -> None:
        """End the process HEED_SECONDS after it is known that it must end, if the main thread has not done so."""
        while self.channel is not None and self.channel.end is None:
            time.sleep(0.5)
        time.sleep(HEED_SECONDS)
        if self.channel is not None and (end := self.channel.end) is not None:
            say(f"stopped: {self.name(end.rank)}: {end.text or end.kind}", sys.stderr)
            os._exit(128 + end.number if end.kind == "stop" else 1)

    def _tell(self, mine: bytes, kind: int) -> list[bytes]:
        return self._gathered(mine, self._headers(mine, kind))

    def _sum(self, leaves: dict[str, mx.array]) -> dict[str, mx.array]:
        mx.eval(leaves)  # a lazy array belongs to its thread
        place = mx.cpu if self.follows else None  # beside the sampling, which has the device

        def work() -> dict[str, mx.array]:
            flat = mx.concatenate([leaf.reshape(-1, stream=place) for leaf in leaves.values()], stream=place)
            total = mx.distributed.all_sum(flat, group=self._group)
            ends = np.cumsum([leaf.size for leaf in leaves.values()])[:-1].tolist()
            parts = mx.split(total, ends, stream=place) if ends else [total]
            made = {
                name: part.reshape(leaf.shape, stream=place)
                for (name, leaf), part in zip(leaves.items(), parts, strict=True)
            }
            mx.eval(made)
            return made

        self._sent += int(2 * (self.processes - 1) / self.processes * sum(leaf.nbytes for leaf in leaves.values()))
        return self._run(work)

    def _headers(self, mine: bytes, kind: int = VALUES) -> list[Header]:
        """Return the header of what each process gives; RankLost where one gives no header of this turn.

        After a peer is gone, MLX's ring may return what was in memory before, and no error (mlx 0.32.4).
        """
        self._turn += 1
        own = np.array(Header(self._turn, len(mine), zlib.crc32(mine), kind), dtype=np.uint32)
        headers = [Header(*row) for row in self._all_gather(own).reshape(self.processes, len(own)).tolist()]
        if any(header.turn != self._turn for header in headers):
            raise self._broken("nothing from a rank")
        return headers

    def _all_gather(self, mine: np.ndarray) -> np.ndarray:
        """Return [processes * n] of each one's [n]."""
        self._sent += (self.processes - 1) * mine.nbytes
        return self._run(lambda: np.array(mx.distributed.all_gather(mx.array(mine), group=self._group)))

    def _run(self, work: Callable[[], Made]) -> Made:
        """Return what a collective gives; it begins when all are there, since MLX's ring waits with a busy core."""
        if self.sharded:
            mx.synchronize()  # a collective inside the model may still be under way
        began = time.monotonic()
        if self.channel is not None:
            self.channel.meet(self._look)
        met = time.monotonic()
        try:
            return self._line.run(work, self._look)
        except (RankLost, ConfigError, Interrupted):
            raise
        except RuntimeError as error:  # of mlx
            raise self._broken(str(error)) from error
        finally:
            ended = time.monotonic()
            self._waiting, self._sending = self._waiting + met - began, self._sending + ended - met
            self._idle += ended - began

    def _broken(self, text: str) -> RankLost:
        """Raise what is known of why a collective failed, or return an error that says no more."""
        self._line.stuck = True  # no other collective can be run
        if self.channel is not None:
            self.channel.wait_for_end(REASON_SECONDS)
            self.channel.check()
        return RankLost(f"a collective of the ranks gave {text}")

    def _look(self) -> None:
        if self._uninterrupted:
            self.look()
        else:
            self._stop.check()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
