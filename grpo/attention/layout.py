"""Positions of each completion's tokens in relation to its prompt."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True)
class PrefixLayout:
    """The rows of each prompt in a batch: a prompt's rows are adjacent, prompts are right-padded."""

    lengths: tuple[int, ...]  # [prompts] tokens
    counts: tuple[int, ...]  # [prompts] rows

    @property
    def prompts(self) -> int:
        return len(self.lengths)

    @property
    def width(self) -> int:
        return max(self.lengths)

    @functools.cached_property
    def samples(self) -> int:
        """The largest number of rows that any prompt has."""
        return max(self.counts)

    @property
    def ragged(self) -> bool:
        return min(self.lengths) < self.width

    @property
    def by_row(self) -> list[int]:
        """Prompt length of each row."""
        return [n for n, count in zip(self.lengths, self.counts, strict=True) for _ in range(count)]

    @functools.cached_property
    def row_lengths(self) -> mx.array:
        """Prompt length of each row, which is the position of its first completion token; [batch]."""
        return mx.array(self.by_row)

    @functools.cached_property
    def prompt_of_row(self) -> mx.array:
        """Return the prompt of each row, [batch]."""
        return mx.array([prompt for prompt, count in enumerate(self.counts) for _ in range(count)])

    @functools.cached_property
    def slots(self) -> tuple[mx.array, mx.array] | None:
        """Return the row in each of the prompts x samples slots, and the slot of each row.

        A slot without a row repeats row 0 and is never read. None where every prompt has the same number of rows.
        """
        if min(self.counts) == self.samples:
            return None
        slot_of_row = [p * self.samples + i for p, count in enumerate(self.counts) for i in range(count)]
        row_of_slot = [0] * (self.prompts * self.samples)
        for row, slot in enumerate(slot_of_row):
            row_of_slot[slot] = row
        return mx.array(row_of_slot), mx.array(slot_of_row)

    def together(self, rows: mx.array) -> mx.array:
        """Put a prompt's rows in one matrix: [batch, heads, n, k] -> [prompts, heads, samples x n, k]."""
        _, heads, _, k = rows.shape
        return self.by_prompt(rows).swapaxes(1, 2).reshape(self.prompts, heads, -1, k)

    def apart(self, shared: mx.array) -> mx.array:
        """The inverse of `together`."""
        _, heads, _, k = shared.shape
        return self.rows_of(shared.reshape(self.prompts, heads, self.samples, -1, k).swapaxes(1, 2))

    def below(self, shared: mx.array, rows: mx.array) -> mx.array:
        """Append [batch, heads, n, k], transposed, below [prompts, heads, m, samples x n].

        Returns [prompts, heads, m + k, samples x n].
        """
        prompts, heads, _, n = shared.shape
        turned = self.by_prompt(rows).transpose(0, 2, 4, 1, 3)  # [prompts, heads, k, samples, n]
        above = shared.reshape(prompts, heads, -1, *turned.shape[3:])
        return mx.concatenate([above, turned], axis=2).reshape(prompts, heads, -1, n)

    def back(self, shared: mx.array) -> mx.array:
        """Transpose back to one matrix a row: [prompts, heads, k, samples x n] -> [batch, heads, n, k]."""
        _, heads, k, _ = shared.shape
        return self.rows_of(shared.reshape(self.prompts, heads, k, self.samples, -1).transpose(0, 3, 1, 4, 2))

    def by_prompt(self, rows: mx.array) -> mx.array:
        """[batch, ...] -> [prompts, samples, ...]."""
        if self.slots is not None:
            rows = rows[self.slots[0]]
        return rows.reshape(self.prompts, self.samples, *rows.shape[1:])

    def rows_of(self, slots: mx.array) -> mx.array:
        """The inverse of `by_prompt`."""
        rows = slots.reshape(self.prompts * self.samples, *slots.shape[2:])
        return rows if self.slots is None else rows[self.slots[1]]

    def keep(self, rows: Sequence[int]) -> tuple["PrefixLayout", list[int]]:
        """Return the layout of these rows alone (in ascending order) and the prompts that remain in it."""
        ends = list(itertools.accumulate(self.counts))
        counts = [sum(end - count <= row < end for row in rows) for end, count in zip(ends, self.counts, strict=True)]
        left = [p for p, count in enumerate(counts) if count]
        return PrefixLayout(tuple(self.lengths[p] for p in left), tuple(counts[p] for p in left)), left


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """Return the length of the prefix that all rows share, leaving at least one token to each row."""
    first, last = min(map(tuple, rows)), max(map(tuple, rows))  # in between, all begin like both
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def pad_rows(rows: Sequence[Sequence[int]], *, width: int | None = None, fill: int = 0) -> mx.array:
    """Return right-padded token ids, [rows, width]."""
    width = max(map(len, rows)) if width is None else width
    return mx.array([[*row, *[fill] * (width - len(row))] for row in rows])
