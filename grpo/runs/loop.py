"""The loop of every training run: steps in order, a checkpoint every few, resume, an end that keeps what was learned.

What a step does, what is said before the first and what the summary holds belong to its kinds: `grpo.trainer.Trainer`
and `distill.sft.trainer.SFTTrainer`.
"""

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from grpo.config.sections import ConfigError, LoggedRun
from grpo.learner.optimizer import Optimizer
from grpo.model.policy import ADAPTER_CONFIG, ADAPTER_FILE, Policy
from grpo.ranks import here
from grpo.ranks.digest import digest
from grpo.runs import checkpoint
from grpo.runs.interrupt import Interrupted, StopFlag
from grpo.runs.logger import RunLogger

BEST = "best"  # folder of the adapter whose held-out figures were the best


@dataclass
class RunState:
    """The part of a checkpoint beside weights and optimizer: plain values, written as JSON."""

    step: int = 0  # steps whose updates have been made
    tokens: int = 0
    seconds: float = 0.0  # of all sittings together
    metrics_bytes: int = 0  # how much of metrics.jsonl belongs to the checkpoint
    bad_updates: int = 0  # updates dropped in a row
    fingerprints: dict[str, str] = field(default_factory=dict)  # of data, rewards, model: see grpo.runs.fingerprints


State = TypeVar("State", bound=RunState)


def places(n: int, positions: range, seed: tuple[int, ...]) -> list[int]:
    """Return which of `n` items stand at these positions of a run, which visits every item once an epoch.

    Every epoch has an order of its own that depends on `seed` and its number alone, so that a resumed run needs no
    state but its position to go on.
    """
    found = [divmod(position, n) for position in positions]
    orders = {
        epoch: np.random.default_rng(np.random.SeedSequence((*seed, epoch))).permutation(n)
        for epoch in {epoch for epoch, _ in found}
    }
    return [int(orders[epoch][place]) for epoch, place in found]


class Loop(ABC, Generic[State]):
    """A policy and its optimizer on the way through the steps of a run directory."""

    config: LoggedRun
    state: State
    logger: RunLogger

    def __init__(self, policy: Policy, optimizer: Optimizer, output: Path, state: State, resume_from: Path | None):
        """`resume_from`: a whole checkpoint of the same kind of run; ConfigError if it does not fit the policy."""
        self.policy, self.optimizer, self.output, self.state = policy, optimizer, output, state
        self.checkpoints = output / "checkpoints"
        self.stop = StopFlag()
        if resume_from is not None:
            self._load(resume_from)
        if here().size > 1:
            self._take_from_first()

    def train(self, stop: StopFlag | None = None) -> dict[str, Any]:
        """Run to the end and return what summary.json holds. Raises Interrupted, or RankLost, after saving.

        An interrupt ends the step that is under way: a resumed run makes it again, with the same figures.
        """
        self.stop = stop or self.stop
        self.logger.started = self.clock = time.monotonic()
        try:
            self._begin()
            while not self._is_over():
                self.stop.check()
                self._step(self.state.step)
                if self.config.save_every and self.state.step % self.config.save_every == 0:
                    self._save()
            return self._finish()
        except Interrupted:
            if self.state.step > 0:
                self._save()
            raise
        except RuntimeError as error:
            lost = here().lost_by(error)
            if lost is None:
                raise
            with here().takes_over(self.output, self.state.step) as saves:
                if saves and self.state.step > 0:
                    self._save()
            raise lost from error
        finally:
            self.close()

    @abstractmethod
    def _begin(self) -> None:
        """Do what comes before the first step, or was left undone when the run was interrupted."""

    @abstractmethod
    def _step(self, step: int) -> None:
        """Make step `step`, counted from 0, and set `state.step` once the weights have moved."""

    @abstractmethod
    def _finish(self) -> dict[str, Any]:
        """Save, and return what summary.json holds."""

    def _is_over(self) -> bool:
        return self.state.step >= self.config.steps

    def close(self) -> None:
        """Free threads, workers and files."""
        self.logger.close()

    def _open_logger(self, kind: Callable[..., RunLogger]) -> None:
        if not here().writes:
            from grpo.ranks.quiet import QuietLogger

            kind = QuietLogger
        self.logger = kind(self.output, self.config, metrics_bytes=self.state.metrics_bytes, first_step=self.state.step)

    def _save(self) -> None:
        if not here().writes:
            return
        now = time.monotonic()
        self.state.seconds, self.clock = self.state.seconds + now - self.clock, now
        self.state.metrics_bytes = self.logger.metrics_bytes()
        self.state.bad_updates = self.optimizer.bad_updates
        path = checkpoint.save(
            self.checkpoints,
            self.state.step,
            weights=self.policy.saved(),
            adapter_config=self.policy.adapter_config(),
            optimizer=self.optimizer.state(),
            state=asdict(self.state),
            reference=self.policy.reference_parameters if self.policy.reference_moved else None,
        )
        checkpoint.publish(path, self.output)
        checkpoint.prune(self.checkpoints, self.config.keep_checkpoints)

    def _take_from_first(self) -> None:
        """Begin, over ranks, with the weights, the optimizer and the state that rank 0 has."""
        ranks = here()
        mine = self.policy.trainable()
        whole = dict(tree_flatten(self.policy.model.parameters()))
        if not ranks.sharded:
            ranks.require_same({"the model's weights": digest({k: v for k, v in whole.items() if k not in mine})})
        state = ranks.from_first(lambda: asdict(self.state))
        weights = mine if ranks.agree(digest(mine)) else ranks.of_first(mine)
        if state["step"] > 0:
            self.optimizer.load_state(ranks.of_first(self.optimizer.state()))
        if ranks.from_first(lambda: self.policy.reference_moved):
            self.policy.reference_parameters = ranks.of_first(self.policy.reference_parameters or weights)
            self.policy.reference_moved = True
        self.state = type(self.state)(**state)
        self.optimizer.bad_updates = self.state.bad_updates
        self.policy.load_trainable(weights)

    def _keep_best(self) -> None:
        """Write the adapter as it is to best/, whole at every moment."""
        if not here().writes:
            return
        partial = self.output / f".partial_{BEST}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        self.policy.save_adapter(partial)
        checkpoint.seal(partial)
        checkpoint.put_in_place(partial, self.output / BEST)

    def _best_fault(self) -> str | None:
        """Return what is wrong with the best adapter on the disk; None if it is as it was written."""
        checkpoint.put_back(self.output / BEST)
        return checkpoint.fault_of(self.output / BEST, (ADAPTER_FILE, ADAPTER_CONFIG))

    def _require_best(self) -> None:
        """ConfigError for a best adapter that is not as it was written, before a resumed run goes on."""
        if here().writes and (fault := self._best_fault()) is not None:
            raise ConfigError(
                f"the best adapter so far, {self.output / BEST}, is damaged ({fault}): put it back, or begin again "
                "with another --output"
            )

    def _load(self, path: Path) -> None:
        try:
            self.state = type(self.state)(**checkpoint.read_state(path))
            self.policy.load_saved(dict(mx.load(str(path / checkpoint.ADAPTER_FILE))))  # type: ignore[arg-type]
            if (path / checkpoint.REFERENCE).exists():
                reference = dict(mx.load(str(path / checkpoint.REFERENCE)))  # type: ignore[arg-type]
                self.policy.reference_parameters, self.policy.reference_moved = reference, True
        except (TypeError, ValueError) as error:
            raise ConfigError(f"can't resume from {path}: {error}") from error
        self.optimizer.load_state(dict(mx.load(str(path / checkpoint.OPTIMIZER))))  # type: ignore[arg-type]
        self.optimizer.bad_updates = self.state.bad_updates
