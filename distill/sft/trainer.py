"""The supervised loop: examples of a step -> micro-batches -> gradient -> update -> validation, log, checkpoint."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from distill.sft.config import ResolvedSFT
from distill.sft.examples import Example
from distill.sft.log import SFTLogger, curve_table
from distill.sft.step import Objective, Supervised, counted
from grpo.config.sections import ConfigError
from grpo.evaluate.benchmarks import benchmarks_of
from grpo.learner.optimizer import Optimizer, learning_rate
from grpo.learner.summing import over_ranks
from grpo.model.forward import sum_trees
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.ranks.share import shared_out
from grpo.runs import checkpoint
from grpo.runs.interrupt import TrainingFailed
from grpo.runs.loop import BEST, Loop, RunState, places

CURVE = "learning_curve.md"


@dataclass
class SFTState(RunState):
    """The state of a supervised run that a checkpoint holds."""

    curve: list[dict[str, Any]] = field(default_factory=list)  # step, loss, validation_loss
    train_seconds: float = 0.0  # without validation
    benchmarks_before: dict[str, float] = field(default_factory=dict)  # figures of eval_benchmarks
    benchmarks: dict[str, float] = field(default_factory=dict)  # the newest


class SFTTrainer(Loop[SFTState]):
    """A policy, examples and the loop that brings them together in a run directory."""

    config: ResolvedSFT

    def __init__(
        self,
        config: ResolvedSFT,
        policy: Policy,
        train: Sequence[Example],
        validation: Sequence[Example],
        output: Path,
        *,
        objective: Objective,
        resume_from: Path | None = None,
    ) -> None:
        self.config = config
        self.licences: dict[str, int] = {}  # of the rows that give one
        self.examples, self.validation = list(train), list(validation)[: config.eval_examples]
        if not self.examples:
            raise ConfigError(f"data {config.data}: no prompt is left to train on after validation_share")
        self.supervised = Supervised(
            policy,
            token_budget=config.token_budget,
            logits_chunk=config.logits_chunk,
            packing=config.packing,
            objective=objective,
        )
        self.benchmarks = benchmarks_of(config)
        super().__init__(policy, Optimizer(policy, config), output, SFTState(), resume_from)
        if self.state.curve:
            self._require_best()
        self._open_logger(SFTLogger)

    def _begin(self) -> None:
        reason = self.supervised.padded_because
        how = "packed rows" if reason is None else f"padded rows ({reason})"
        self.logger.say(f"{len(self.examples)} examples, {len(self.validation)} to validate on, {how}")
        for note in () if self.benchmarks is None else self.benchmarks.notes:
            self.logger.say(f"  note: {note}")
        if not self.state.curve:
            self._validate(0, None)
        if self.state.step == 0:
            self.state.benchmarks_before = self._benchmarks(0)

    def _is_over(self) -> bool:
        return super()._is_over() or self._patience_is_out()

    def _step(self, step: int) -> None:
        start = time.monotonic()
        examples = self.examples_of(step)
        with here().uninterrupted():  # an update is made by all ranks or by none
            loss, norm, padding = self._update(examples, step)
        self.state.step = step + 1
        seconds = time.monotonic() - start
        self.state.tokens += counted(examples)
        self.state.train_seconds += seconds
        metrics = {
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": learning_rate(self.config, step),
            "epoch": (step + 1) * self.config.examples_per_step / len(self.examples),
            "num_tokens": self.state.tokens,
            "tokens_per_second": counted(examples) / seconds,
            "padding_share": padding,
            "step_time": seconds,
            "memory/peak_bytes": float(mx.get_peak_memory()),
            **here().traffic(),
        }
        for warning in here().slow(step):
            self.logger.say(f"  warning: {warning}")
        if self.config.eval_every and ((step + 1) % self.config.eval_every == 0 or step + 1 == self.config.steps):
            metrics |= self._validate(step + 1, loss)
            metrics |= {f"eval/{name}": value for name, value in self._benchmarks(step + 1).items()}
        self.logger.step(step + 1, metrics)

    def _update(self, examples: Sequence[Example], step: int) -> tuple[float, float, float]:
        """Make one optimizer step; return the loss a token, the gradient norm and the share of padding."""
        ranks = here()
        # adapter dropout is the only draw on the device; every rank draws its own
        mx.random.seed((self.config.seed << 32) + (ranks.rank << 24) + step)
        self.policy.model.train()
        if self.config.merge_adapter and self.policy.learns_merged:
            self.policy.merge()  # the update lets go of it
        denominator = float(counted(examples))
        mine = shared_out([len(example.tokens) for example in examples], ranks.size)[ranks.rank]
        batches, padding = self.supervised.micro_batches([examples[place] for place in mine])
        loss, gradient = 0.0, None
        for batch in batches:
            ranks.look()
            scored = self.supervised.loss_and_gradient(batch, denominator)
            loss += scored.loss
            gradient = sum_trees(gradient, scored.gradient)
            mx.eval(gradient)
        self.policy.model.eval()
        if ranks.size > 1:
            gradient, loss, _ = over_ranks(self.policy, self.optimizer, gradient, loss, {})
        assert gradient is not None
        norm, _ = self.optimizer.apply(gradient, loss, step)
        return loss, norm, padding

    def examples_of(self, step: int) -> list[Example]:
        """The examples of a step: every epoch goes through all of them in an order of its own, from the seed."""
        size = self.config.examples_per_step
        order = places(len(self.examples), range(step * size, (step + 1) * size), (self.config.seed, 13))
        return [self.examples[place] for place in order]

    def validation_loss(self) -> float:
        """Mean loss of the counted tokens of the validation examples."""
        self.policy.model.eval()

        def summed(batch: Sequence[Example]) -> tuple[float, int]:
            self.stop.check()
            losses = np.array(self.supervised.losses(batch), dtype=np.float64)
            return float(losses.sum()), losses.size

        found = here().spread(self.supervised.micro_batches(self.validation)[0], summed)
        return sum(total for total, _ in found) / sum(tokens for _, tokens in found)

    def _validate(self, step: int, train_loss: float | None) -> dict[str, float]:
        """A point of the learning curve; the best weights so far are kept in best/."""
        if not self.validation or not self.config.eval_every:
            return {}
        loss, curve = self.validation_loss(), self.state.curve
        best = min((point["validation_loss"] for point in curve), default=math.inf)
        curve.append({"step": step, "loss": train_loss, "validation_loss": loss})
        if loss < best:
            self._keep_best()
        self.logger.say(f"  validation loss {loss:.4f} after step {step}" + ("" if loss < best else "  (not the best)"))
        return {"eval/loss": loss}

    def _benchmarks(self, step: int) -> dict[str, float]:
        """Figures of the config's eval_benchmarks after `step` steps."""
        if self.benchmarks is None:
            return {}
        folder = self.output / "benchmarks" / f"step_{step:06d}"
        benchmarks, check, say = self.benchmarks, self.stop.check, self.logger.say
        self.state.benchmarks = here().from_first(lambda: benchmarks.measure(self.policy, folder, check, say))
        return self.state.benchmarks

    def _patience_is_out(self) -> bool:
        losses = [point["validation_loss"] for point in self.state.curve]
        if not self.config.patience or not losses:
            return False
        return len(losses) - 1 - losses.index(min(losses)) >= self.config.patience

    def _finish(self) -> dict[str, Any]:
        self._save()
        curve = self.state.curve
        best = min(curve, key=lambda point: point["validation_loss"]) if curve else None
        if best is not None and here().writes:
            if (fault := self._best_fault()) is not None:
                raise TrainingFailed(
                    f"the best adapter, {self.output / BEST}, is damaged ({fault}) and is not published; the last is "
                    f"in {self.checkpoints}"
                )
            checkpoint.publish(self.output / BEST, self.output)
            table = curve_table(curve)
            checkpoint.write_text(self.output / CURVE, table)
            self.logger.say(table)
            if best["step"] == 0 and self.state.step > 0:
                self.logger.say(
                    "  warning: no step lowered the validation loss, so the adapter is the one it started with "
                    f"(the last is under {self.output}/checkpoints); on a model's own samples that loss says little: "
                    "eval_every=0 keeps the last"
                )
        seconds = self.state.train_seconds
        return {
            "before": _with(curve[:1], self.state.benchmarks_before),
            "after": _with(curve[-1:], self.state.benchmarks),
            "best": best,
            "steps": self.state.step,
            "total_steps": self.config.steps,
            "seconds": round(self.state.seconds, 1),
            "tokens": self.state.tokens,
            "tokens_per_second": round(self.state.tokens / seconds, 1) if seconds else None,
            "peak_bytes": int(mx.get_peak_memory()),
            "seed": self.config.seed,
            "packed": self.supervised.packed,
            "examples": len(self.examples),
            "licences": self.licences,
        }


def _with(points: Sequence[dict[str, Any]], benchmarks: dict[str, float]) -> dict[str, Any] | None:
    """A point of the curve with the benchmarks' figures; None where there is neither."""
    return {**(points[0] if points else {}), **benchmarks} or None
