"""The training loop. Every arrow of the data flow is one call in `Trainer._step`.

tasks -> generate -> score -> group_advantages -> learn -> log, checkpoint
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from rich.progress import Progress

from envs import Env
from grpo.algorithms.credit import credit_of
from grpo.algorithms.process import process_credit
from grpo.algorithms.resolve import advantage_named, user_function
from grpo.algorithms.seams import Seams
from grpo.algorithms.turns import turn_credit
from grpo.config import Config
from grpo.config.presets import odd_mixtures
from grpo.config.sections import ConfigError
from grpo.doctor.findings.judgement import conclude
from grpo.evaluate.benchmarks import benchmarks_of
from grpo.evaluate.best import better, told
from grpo.evaluate.measure import before_and_after, evaluate
from grpo.evaluate.probes import Probes
from grpo.learner.controls import Controls
from grpo.learner.learner import Learner
from grpo.memory.device import limit_memory, release_freed
from grpo.memory.plan import longest_conversation, plan
from grpo.metrics import logged_metrics, rollout_metrics
from grpo.model.facts import facts_of_model
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.ranks.ahead import AheadOverRanks, Ask
from grpo.ranks.sampling import sampled, scored_by_first
from grpo.rollout.ahead import Sampled
from grpo.rollout.choosing import ahead_of, filter_of, longest_of, order_of, remote_of, samplers_of, source_of
from grpo.rollout.dialogue import dialogues_of, tools_for
from grpo.rollout.engine import Request
from grpo.rollout.filling import Filling
from grpo.rollout.gathering import gathered
from grpo.rollout.order import OrderState, length_limit
from grpo.rollout.prompts import fitting
from grpo.rollout.reading import can_read
from grpo.rollout.sampler import Sampling
from grpo.rollout.source import RolloutInputs, RolloutSource
from grpo.rollout.stopping import stops
from grpo.runs.coach import Coach
from grpo.runs.failures import Failures
from grpo.runs.logger import RunLogger
from grpo.runs.loop import BEST, Loop, RunState
from grpo.runs.token_texts import TokenTexts
from grpo.scoring import GroupScores, Scorer, results
from grpo.types import Credit, Group, Prompt
from rewards import CallState, RewardSet


@dataclass
class TrainerState(RunState):
    """The state of an RL run that a checkpoint holds."""

    before: dict[str, Any] | None = None  # held-out figures before the first step
    best: dict[str, Any] | None = None  # step, metric, value of the best held-out figure so far
    unlogged: dict[str, float] | None = None  # metrics of a step whose evaluation was interrupted
    order: OrderState = field(default_factory=OrderState)
    controls: Controls | None = None  # coefficients that are adapted

    def __post_init__(self) -> None:
        if isinstance(self.order, dict):  # from a checkpoint
            self.order = OrderState(**self.order)
        if isinstance(self.controls, dict):
            self.controls = Controls(**self.controls)


class Trainer(Loop[TrainerState]):
    """A policy, an environment and rewards, and the loop that brings them together in a run directory."""

    config: Config

    def __init__(
        self,
        config: Config,
        policy: Policy,
        env: Env,
        rewards: RewardSet,
        output: Path,
        *,
        resume_from: Path | None = None,
        seams: Seams | None = None,
    ) -> None:
        self.seams = seams or Seams()
        self.config, self.policy, self.env = config, policy, env
        self.scorer = Scorer(rewards, config.max_completion_length)
        self.notes: list[str] = []  # what the prompts' reader should be told
        self.stops_at = stops(config, policy.tokenizer)
        self.dialogues = dialogues_of(env, policy.tokenizer, config, self.stops_at.tokens)
        if self.dialogues is not None and not (policy.shares_prefixes and can_read(policy)):
            self.notes.append(
                "conversations are decoded one at a time (slower): this architecture keeps states in decoding"
            )
        self.train_prompts = self._prompts("train")
        self.eval_prompts = self._prompts("test")[: config.eval_tasks] if config.eval_every else []
        held_out = self.eval_prompts or (self._prompts("test") if config.probe_every else [])
        self.probes = Probes(held_out or self.train_prompts, policy, self.scorer, self.dialogues)
        if config.beta > 0:
            policy.freeze_reference()
        limit_memory()
        self.memory_plan = plan(
            config,
            facts_of_model(policy.model),
            on_cpu=mx.default_device().type == mx.DeviceType.cpu,
            prompt_tokens=longest_of(env, self.train_prompts, config),
            row_tokens=None if self.dialogues is None else longest_conversation(config),
        )
        self.config = config = self.memory_plan.config
        self.learner = Learner(policy, config, self.seams.loss_fn)
        self.estimator = self.seams.advantage_fn or advantage_named(config.advantage)
        order = order_of(env, self.train_prompts, config, policy, lambda line: self.logger.say(line))
        self.filling = Filling(config, order, filter_of(config, self.seams.group_filter))
        process = config.process_reward
        self.process_reward = None if process is None else user_function("process_reward", process)
        self.coach, self.benchmarks = Coach(config), benchmarks_of(config)
        self.notes += [] if self.benchmarks is None else self.benchmarks.notes
        super().__init__(policy, self.learner.optimizer, output, TrainerState(), resume_from)
        self.learner.controls = self.state.controls or self.learner.controls
        if self.state.best is not None and self.state.best["step"] and config.metric_for_best_model is not None:
            self._require_best()
        self._open_logger(RunLogger)
        self.logger.token_texts = TokenTexts(policy.tokenizer.decode)
        servers = remote_of(config, policy, env, output, self.logger.say, self.state.step, self.train_prompts[0])
        self.source: RolloutSource = servers or source_of(config, self.seams.rollout_fn)
        self.remote = servers or samplers_of()
        self.ahead = ahead_of(config, self.filling, self._fill, self.share)
        for note in self.notes:
            self.logger.say(f"  note: {note}")
        for line in odd_mixtures(config):
            self.logger.say(f"  warning: {line}")
        if here().writes:
            self.coach.replay(filter(None, self.logger.earlier()))
        self.failures = Failures(self.logger, whole_steps=config.reward_batch == "step")

    def _begin(self) -> None:
        self.logger.watch()
        if self.state.before is None and (self.eval_prompts or self.benchmarks):
            self.state.before = self._evaluate(0, "before", greedy=self.config.eval_greedy)
        if self.state.step == 0:
            self.probes.sample(config=self.config, step=0, logger=self.logger, check=self.stop.check)
        if self.state.unlogged is not None:
            self._log(self.state.unlogged)

    def _step(self, step: int) -> None:
        """Run one rollout batch and its updates."""
        start = time.monotonic()
        self.scorer.state = self._call_state(self.state.order, step)
        if self.remote is not None:
            self.remote.send(self.policy, step)
        ready = self.ahead.take(self.state.order, step, self.stop.check)
        batch, groups, scored = ready.batch, ready.batch.groups, ready.batch.scored
        decoded = max(start, time.monotonic() - ready.rewarding)
        self.ahead.go_on(batch.order, step)
        advantages, credited = self.credit(groups, scored, batch.rewards)
        scored_at = time.monotonic()
        metrics = rollout_metrics(groups, scored, batch.rewards, self.policy.mixtures.sizes) | batch.metrics | credited
        release_freed()
        for line in filter(None, (batch.said, self.learner.compare_with_sampler(groups))):
            self.logger.say(f"  {line}")
        metrics |= self.learner.learn(groups, advantages, step)
        if self.config.sync_ref_model and (step + 1) % self.config.ref_model_sync_steps == 0:
            self.policy.move_reference(self.config.ref_model_mixup_alpha)
        learned = time.monotonic()
        tokens = sum(rollout.trained_tokens for group in groups for rollout in group.rollouts)
        self.state.step, self.state.order, self.state.controls = step + 1, batch.order, self.learner.controls
        self.state.tokens += tokens
        metrics |= {
            "num_tokens": self.state.tokens,
            "step_time": learned - start,
            "time/rollout": decoded - start,
            "time/rewards_after_rollout": scored_at - decoded,
            "time/learn": learned - scored_at,
            "tokens_per_second": tokens / max(ready.decoding, 1e-9),
            "memory/peak_bytes": float(mx.get_peak_memory()),
        }
        metrics |= here().traffic()
        metrics |= {} if self.remote is None else self.remote.metrics(groups, step, ready.decoding)
        metrics |= logged_metrics(scored, metrics)
        every = self.config.completions_every
        if every and (step % every == 0 or step + 1 == self.config.steps):
            self.logger.completions(step + 1, self.learner.with_logprobs(groups), scored, advantages)
        if self.logger.view is not None:
            self.logger.view.completions(groups, scored)
        self.state.unlogged = metrics
        self._log(metrics)

    def _log(self, metrics: dict[str, float]) -> None:
        """Evaluate if it is time to, and write the step's line.

        The weights have already moved: a run that is interrupted in the evaluation does this first when it is resumed.
        """
        step = self.state.step
        measured = self.eval_prompts or self.benchmarks
        if measured and step % self.config.eval_every == 0 and step < self.config.steps:
            figures = self._evaluate(step, f"after step {step}")
            metrics |= {f"eval/{name}": float(value) for name, value in figures.items()}
        self.probes.sample(config=self.config, step=step, logger=self.logger, check=self.stop.check)
        self.state.unlogged = None
        self.logger.step(step, metrics)
        for warning in [*self.coach.look(step, metrics), *here().slow(step)]:
            self.logger.say(f"  warning: {warning}")
        if self.logger.view is not None:
            self.logger.view.update(step, metrics, self.coach.found)
        for callback in self.seams.callbacks if here().writes else ():
            callback(step, dict(metrics))

    def _fill(self, order: OrderState, step: int) -> Sampled:
        """Sample and score the batch of a step."""
        start, state = time.monotonic(), self._call_state(order, step)
        batch = self.filling.fill(order, step, partial(self._rollout, state))
        return Sampled(batch, self.decoded_at - start, time.monotonic() - self.decoded_at)

    def share(self, ask: Ask) -> Callable[[], tuple[list[Group], list[GroupScores]]]:
        """Take this rank's share of the next prompts of an order; return what samples and scores it."""
        places, _ = self.filling.order.take(ask.order, ask.count, ask.step)
        own = here().places(ask.count)
        prompts = [self.filling.order.prompts[places[number]] for number in own]
        if not prompts:
            return lambda: ([], [])
        request = self._request(ask.step, [ask.before + number for number in own])
        return partial(self._sample, self._call_state(ask.order, ask.step), prompts, request)

    def _call_state(self, order: OrderState, step: int) -> CallState:
        return CallState(step, self.config.steps, *self.filling.order.passes(order))

    def _rollout(
        self, state: CallState, prompts: Sequence[Prompt], before: int, order: OrderState
    ) -> tuple[list[Group], list[GroupScores]]:
        """Return groups and their rewards in the order of the prompts; rewards run while others are decoded.

        `before`: prompts of this step that were sampled earlier, so that all draw other random numbers; `order` is the
        state before these.
        """
        step = state.global_step
        if isinstance(self.ahead, AheadOverRanks):
            groups, scored = self.ahead.sampled(order, prompts, step, before)
            self.decoded_at = time.monotonic()
        else:
            self.decoded_at = time.monotonic()
            request = self._request(step, range(before, before + len(prompts)))
            groups, scored = sampled(prompts, request, partial(self._sample, state))
        if self.config.reward_batch == "step":
            scored = scored_by_first(lambda: results(self.scorer.submit_all(groups, state), self.stop.check))
        self.failures.hear(self.state.step + 1, prompts, groups, scored)
        return groups, scored

    def _request(self, step: int, numbers: Sequence[int]) -> Request:
        """Return the request for prompts of a step, by their numbers in it."""
        config = self.config
        return Request(
            samples=config.num_generations,
            max_tokens=length_limit(config, step),
            sampling=Sampling(config.temperature, config.top_p, config.top_k),
            seed=config.seed,
            step=step,
            max_rows=config.max_rows,
            merge_adapter=config.merge_adapter,
            kv_bits=config.kv_bits,
            stops=self.stops_at,
            dialogues=self.dialogues,
            numbers=numbers,
        )

    def _sample(
        self, state: CallState, prompts: Sequence[Prompt], request: Request
    ) -> tuple[list[Group], list[GroupScores]]:
        """Return the groups and their rewards, without these where they are worked out once for the whole step."""
        config, beside = self.config, self.config.max_staleness > 0
        total = len(prompts) * config.num_generations * config.max_completion_length
        with self.logger.progress("sampling", total, hidden=beside) as bar:
            inputs = RolloutInputs(self.policy, prompts, request, self._advance(bar))
            groups, pending = gathered(self.source, inputs, config, self.scorer, state)
        self.decoded_at = time.monotonic()
        return groups, results(pending, self.stop.check)

    def credit(
        self, groups: Sequence[Group], scored: Sequence[GroupScores], rewards: np.ndarray
    ) -> tuple[Sequence[Sequence[Credit]], dict[str, float]]:
        """Return the credit of each completion or token, here by the run's estimator, and metrics of it."""
        self.failures.require_some(rewards, [name for name, weight in self.config.reward_weights.items() if weight])
        credit = credit_of(self.estimator, self.config, groups, scored, rewards)
        if self.config.credit == "turn":
            credit = turn_credit(self.config, groups, rewards, credit)
        if self.process_reward is not None:
            return process_credit(self.process_reward, self.config, groups, credit, self.policy.tokenizer.decode)
        return credit, {}

    def _advance(self, bar: Progress) -> Callable[[int], None]:
        """Called after every decoding step: moves the bar, and ends the step on a signal."""

        def advance(tokens: int) -> None:
            self.stop.check()
            self.ahead.check()
            bar.advance(bar.task_ids[0], tokens)

        return advance

    def _prompts(self, split: str) -> list[Prompt]:
        tasks = self.env.tasks(split)
        tools = None if self.dialogues is None else functools.partial(tools_for, self.env)
        prompts, notes = fitting(tasks, self.policy.tokenizer, self.config, split, tools)
        if split == "train" and not prompts:
            raise ConfigError(
                f"data {self.config.data_name}: no prompt to train on: {len(tasks)} tasks, {' '.join(notes)}"
            )
        self.notes += [note for note in notes if note not in self.notes]
        return prompts

    def _evaluate(self, step: int, when: str, greedy: bool = False) -> dict[str, Any]:
        """Held-out figures and benchmarks, said and returned; with `greedy` those of the likeliest tokens too."""
        found = self._held_out(step, when, greedy) if self.eval_prompts else {}
        if self.benchmarks is not None:
            folder = self.output / "benchmarks" / f"step_{step:06d}"
            benchmarks, check, say = self.benchmarks, self.stop.check, self.logger.say
            found |= here().from_first(lambda: benchmarks.measure(self.policy, folder, check, say))
        if (best := better(self.state.best, step, self.config.metric_for_best_model, found)) is not None:
            self.state.best = best
            if step > 0:  # before it the run's start is the best, which is there already
                self._keep_best()
        return found

    def _held_out(self, step: int, when: str, greedy: bool) -> dict[str, Any]:
        config, total = (
            self.config,
            len(self.eval_prompts) * self.config.eval_samples * self.config.max_completion_length,
        )
        with self.logger.progress(f"evaluating {when}", total) as bar:
            advance = self._advance(bar)
            measure = functools.partial(
                evaluate,
                self.policy,
                self.eval_prompts,
                self.scorer,
                config,
                step=step,
                on_tokens=advance,
                dialogues=self.dialogues,
            )
            sampled = measure()
            likeliest = measure(greedy=True) if greedy else None
        self.failures.hear(step, self.eval_prompts, sampled.groups, sampled.scored)
        self.logger.evaluations(step, sampled.groups, sampled.scored)
        if likeliest is not None:
            self.logger.evaluations(step, likeliest.groups, likeliest.scored, "_greedy")
        figures = sampled.figures
        shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items() if name in config.reward_weights)
        self.logger.say(
            f"  held out, {when}: {shown}  ({len(self.eval_prompts)} tasks, length {figures['mean_length']:.0f})"
        )
        return before_and_after(figures, None if likeliest is None else likeliest.figures)

    def _finish(self) -> dict[str, Any]:
        after = None
        if self.eval_prompts or self.benchmarks:
            after = self._evaluate(self.config.steps, "after", greedy=self.config.eval_greedy)
        self._save()
        if self.state.best is not None:
            self.logger.say(told(self.state.best, f"{self.output}/{BEST}"))
        summary = {
            "before": self.state.before,
            "after": after,
            "best": self.state.best,
            "seconds": round(self.state.seconds, 1),
            "steps": self.state.step,
            "seed": self.config.seed,
            "tokens": self.state.tokens,
            "control": self.config.control,
        }
        if not here().writes:
            return summary
        found, verdict = conclude(self.output, summary)
        self.logger.conclude(self.state.step, verdict, found)
        return summary | {"verdict": asdict(verdict)}

    def close(self) -> None:
        """Free threads, workers and files."""
        self.ahead.close()
        self.scorer.close()
        super().close()
