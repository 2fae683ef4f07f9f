"""Prompts of a stream: read in buffers, shuffled within each, at the same place again when a run is resumed.

Where a run stands is the row its buffer began at and how many of the buffer's prompts were taken; both are in
`OrderState`, so that a resumed run reads the same buffer again and goes on in it. The order within a buffer depends on
the seed, the epoch and that row alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs import Task
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.rollout.order import SEED, OrderState
from grpo.types import Prompt

UNKNOWN = ("curriculum_mastered", "curriculum_hopeless", "difficulty_column")  # they need every task's place


@dataclass(frozen=True)
class Buffer:
    """Prompts in the order they are taken in."""

    epoch: int
    row: int  # of the source before the buffer's first
    prompts: list[Prompt]
    end: int  # rows of the source up to its last
    last: bool  # the source ends with it


class StreamOrder:
    """Takes prompts from a stream that is begun again when it ends; `prompts` are those taken last, by their place."""

    def __init__(
        self, stream: Any, buffer: int, config: Config, fit: Callable[[Task], Prompt | None], say: Callable[[str], None]
    ) -> None:
        """`fit` renders a task, None where its prompt is too long; `say` prints a line.

        Raises ConfigError for a setting that needs all tasks at once.
        """
        for name in UNKNOWN:
            if getattr(config, name) is not None:
                raise ConfigError(f"{name} needs tasks in memory, data: stream reads them as it goes")
        if config.replay_size:
            raise ConfigError("replay_size needs tasks in memory, data: stream reads them as it goes")
        self.stream, self.size, self.config, self.fit, self.say = stream, buffer, config, fit, say
        self.prompts: dict[int, Prompt] = {}
        self.buffer: Buffer | None = None
        self.rows: Iterator[Task | None] = iter(())
        self.at = (-1, -1)  # epoch and row that `rows` stands at

    def take(self, state: OrderState, count: int, step: int) -> tuple[list[int], OrderState]:
        """Return the places of the next `count` prompts and the state after them; `state` itself stays as it is."""
        taken: dict[int, Prompt] = {}
        while len(taken) < count:
            buffer = self._buffer(state.epoch, state.row)
            if state.offset == len(buffer.prompts):
                epoch, row = (state.epoch + 1, 0) if buffer.last else (state.epoch, buffer.end)
                state = replace(state, epoch=epoch, row=row, offset=0)
                continue
            taken[state.position] = buffer.prompts[state.offset]
            state = replace(state, position=state.position + 1, offset=state.offset + 1)
        self.prompts = taken
        return list(taken), state

    def learned(self, state: OrderState, rates: dict[int, float]) -> OrderState:
        """Return the state as it is: pass rates of a stream's prompts are not kept."""
        return state

    def passes(self, state: OrderState) -> tuple[float, float]:
        """Return whole passes over the stream so far; of the whole run nothing is known, 0."""
        return float(state.epoch), 0.0

    def _buffer(self, epoch: int, row: int) -> Buffer:
        """Return the buffer that begins after `row` rows, read if it is not the one at hand."""
        if self.buffer is not None and (self.buffer.epoch, self.buffer.row) == (epoch, row):
            return self.buffer
        if self.at != (epoch, row):
            self.rows = iter(self.stream.after(row))
        prompts, end, out, last = list[Prompt](), row, 0, False
        while len(prompts) < self.size:
            try:
                task = next(self.rows)
            except StopIteration:
                last = True
                break
            end += 1
            prompt = None if task is None else self.fit(task)
            if prompt is None:
                out += 1
            else:
                prompts.append(prompt)
        if last and not prompts and row == 0:
            raise ConfigError(f"data stream: no prompt of {self.stream.rows} can be trained on")
        if out:
            self.say(f"  {out} of {end - row} streamed rows can't be used or are longer than max_prompt_length")
        if self.config.shuffle_dataset:
            seeds = np.random.SeedSequence((self.config.seed, SEED, epoch, row))
            prompts = [prompts[place] for place in np.random.default_rng(seeds).permutation(len(prompts))]
        self.at = (epoch, end)
        self.buffer = Buffer(epoch, row, prompts, end, last)
        return self.buffer
