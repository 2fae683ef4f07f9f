"""The first half of rejection sampling: chunk by chunk, sample, score, write. Resumes at the chunk."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distill.corpus.rules import Judged, Rules, reasons
from distill.rejection.config import RejectionConfig
from distill.rejection.prompts import Prompts
from distill.rejection.records import (
    PART_BYTES,
    Numbers,
    Record,
    Sample,
    append,
    current_file,
    cut_torn,
    finished,
    part_folder,
)
from distill.rejection.samplers import Drawn, Sampler
from distill.rejection.store import Store
from envs import Task
from grpo.runs import checkpoint
from grpo.runs.interrupt import StopFlag
from grpo.runs.log import RunLog
from grpo.scoring import hand_over
from rewards import RewardSet
from rewards.base import prompt_text
from rewards.compose import Scores

Say = Callable[[str], None]
SECONDS_BETWEEN_LINES = 10.0


def rules_of(config: RejectionConfig) -> Rules:
    """The rules a config sets."""
    return Rules(
        config.require,
        frozenset(config.may_lack),
        config.max_paragraph_words,
        config.code_in_reasoning,
        config.max_copied,
    )


class Sampling:
    """One process's share of the sampling."""

    def __init__(
        self, config: RejectionConfig, prompts: Prompts, output: Path, say: Say, log: RunLog, store: Store
    ) -> None:
        self.config, self.prompts, self.output, self.say = config, prompts, output, say
        self.log, self.store = log, store
        self.told: set[str] = set()  # kinds of failures of rewards that were said

    def missing(self) -> int:
        """Prompts that no shard has sampled yet."""
        return len(self.prompts) - sum(number in self.prompts for number in finished(self.output))

    def _waiting(self, done: Numbers) -> Iterator[int]:
        """Yield which chunks of this shard are not sampled yet."""
        index, count = self.config.own_shard
        for at, chunk in enumerate(self.prompts.numbers(self.config.chunk_prompts)):
            if at % count == index and not all(number in done for number in chunk):
                yield at

    def run(self, make_sampler: Callable[[], Sampler], rewards: RewardSet, stop: StopFlag) -> None:
        """Sample the waiting prompts; the sampler is made only if there are any."""
        folder = part_folder(self.output, self.config.shard)
        with checkpoint.lock(folder):
            cut_torn(current_file(folder), self.prompts.numbers(self.config.chunk_prompts))
            damaged: list[str] = []
            waiting = Numbers(self._waiting(finished(self.output, damaged.append)))
            if not waiting:
                return
            for where in damaged:
                self.say(f"  warning: {where}: the line has changed since it was written: its prompt is sampled again")
            chunks = enumerate(self.prompts.numbers(self.config.chunk_prompts))
            prompts = sum(len(chunk) for at, chunk in chunks if at in waiting)
            self.say(f"sampling {self.config.samples} completions of {prompts} prompts (of {len(self.prompts)})")
            progress = Progress(prompts, self.config, self.say, stop)
            sampler = make_sampler()
            progress.start()
            for at, tasks in enumerate(self.prompts.chunks(self.config.chunk_prompts)):
                if at not in waiting:
                    continue
                stop.check()
                path = current_file(folder)
                append(path, self._sample(tasks, sampler, rewards, progress))
                if path.stat().st_size >= PART_BYTES:
                    self.store.push(self.output)
            progress.show(last=True)

    def _sample(
        self, tasks: Mapping[int, Task], sampler: Sampler, rewards: RewardSet, progress: "Progress"
    ) -> list[Record]:
        """The chunk's records in order; prompts are scored while others are still being sampled."""
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rewards")
        try:
            pending = []
            for drawn in sampler.sample(tasks, progress.on_tokens):
                self._heard(tasks[drawn.number], drawn)
                pending.append(pool.submit(self._scored, tasks[drawn.number], drawn, rewards, progress))
            return sorted((future.result() for future in pending), key=lambda record: record.number)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _scored(self, task: Task, drawn: Drawn, rewards: RewardSet, progress: "Progress") -> Record:
        record = score(task, drawn, rewards, self.config.max_completion_length, self._failed)
        progress.on_prompt(record)
        return record

    def _heard(self, task: Task, drawn: Drawn) -> None:
        """Write what an environment or its tools raised to log.txt, each traceback once; say the first failure."""
        for what, text in drawn.raised:
            self.log.write_once(f"task {task.id}, {what}", text)
            if what == "environment" and what not in self.told:
                self.told.add(what)
                self.say(f"  the environment of task {task.id} failed (see log.txt)")

    def _failed(self, task: Task, scores: Scores) -> None:
        """Say the first failure of each kind; log.txt has the tracebacks of all."""
        for kind, message in scores.messages.items():
            if kind in scores.failures and kind not in self.told:
                self.told.add(kind)
                self.say(f"  {message}")
        for name, text in scores.tracebacks.items():
            self.log.write(f"task {task.id}, reward {name}\n{text}")


def score(
    task: Task,
    drawn: Drawn,
    rewards: RewardSet,
    max_completion_length: int,
    on_failure: Callable[[Task, Scores], None] = lambda task, scores: None,
) -> Record:
    """The record of a prompt. A reward that fails is asked once more: a busy machine is no verdict."""
    texts, count = [completion.text for completion in drawn.completions], len(drawn.completions)
    if not count:
        return Record(drawn.number, task, drawn.opened, (), drawn.left_out)
    ids = [list(completion.ids or ()) for completion in drawn.completions]
    prompts, completions, columns = hand_over(task, drawn.shown, texts, max_completion_length=max_completion_length)
    if any(completion.messages is not None for completion in drawn.completions):
        if isinstance(task.prompt, str):
            prompts = [[{"role": "user", "content": task.prompt}]] * count
        completions = [list(one.messages or [{"role": "assistant", "content": one.text}]) for one in drawn.completions]
        columns["turn_rewards"] = [list(one.turn_rewards) for one in drawn.completions]
    ask = functools.partial(
        rewards.score, prompts, completions, completion_ids=ids if all(ids) else None, columns=columns
    )
    scores = ask()
    if scores.failures:
        on_failure(task, scores)
        scores = ask()
    samples = tuple(
        Sample(
            one.text,
            one.tokens,
            one.stop_reason,
            {name: values[at] for name, values in scores.values.items()},
            one.messages,
        )
        for at, one in enumerate(drawn.completions)
    )
    return Record(drawn.number, task, drawn.opened, samples, drawn.left_out, dict(scores.failures), drawn.tools)


class Progress:
    """Lines on how far it is: prompts, tokens a second, share that the rules keep, time to go."""

    def __init__(self, prompts: int, config: RejectionConfig, say: Say, stop: StopFlag) -> None:
        self.prompts, self.rules, self.say, self.stop = prompts, rules_of(config), say, stop
        self.done = self.completions = self.kept = self.tokens = 0
        self.start()

    def start(self) -> None:
        """The clock begins to run."""
        self.began = self.shown = time.monotonic()

    def on_tokens(self, count: int) -> None:
        """Hear of tokens; where an interrupted run stops."""
        self.stop.check()
        self.tokens += count
        if time.monotonic() - self.shown >= SECONDS_BETWEEN_LINES:
            self.show()

    def on_prompt(self, record: Record) -> None:
        """Hear of a finished prompt."""
        self.done += 1
        self.completions += len(record.samples)
        self.kept += sum(not reasons(seen(record, sample), self.rules) for sample in record.samples)

    def show(self, *, last: bool = False) -> None:
        """Say it."""
        self.shown = time.monotonic()
        seconds = max(self.shown - self.began, 1e-9)
        share = self.kept / self.completions if self.completions else 0.0
        line = f"  prompts {self.done}/{self.prompts}  {self.tokens / seconds:.0f} tokens/s  kept {self.kept} of "
        line += f"{self.completions} ({share:.0%})"
        if self.done and not last:
            line += f"  {_minutes(seconds / self.done * (self.prompts - self.done))} to go"
        self.say(line)


def seen(record: Record, sample: Sample) -> Judged:
    """A sample as the rules see it."""
    return Judged(prompt_text(record.task.prompt), sample.text, sample.stop_reason, sample.rewards, record.opened)


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
