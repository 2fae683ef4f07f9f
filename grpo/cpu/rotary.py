"""Rotary positions from tables, for the CPU, where MLX recomputes every cosine and sine in every layer and step.

A rotation is linear in what it rotates (Su et al., arXiv 2104.09864), so a table is asked of the model's own rope by
letting it rotate ones: scaled, partial and interleaved variants need no formula here. `install` puts it in place; what
is no rotation by position alone keeps its own code.
"""

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from grpo.cpu.exponential import on_cpu

FIRST_POSITIONS = 1024  # of a table; it doubles when a position beyond it is asked for


@mx.compile
def _combined(x: mx.array, swapped: mx.array, here: mx.array, there: mx.array) -> mx.array:
    return x * here + swapped * there


class Table:
    """x rotated to position t is x * here[t] + swapped(x) * there[t]; `swapped` exchanges the two of each pair."""

    def __init__(self, rope: nn.Module, pairs: np.ndarray) -> None:
        self.rope, self.pairs = rope, pairs  # [dims] the other dimension of each pair, itself where none is rotated
        self.dims = len(pairs)
        self.positions = 0
        self.swap = mx.array(pairs)
        self.exchange = mx.eye(self.dims)[self.swap]  # x @ exchange is x[..., swap]
        self.halves = bool((pairs == np.roll(np.arange(self.dims), self.dims // 2)).all())
        self._offset: int | mx.array | None = None
        self._time = 0
        self._rows: tuple[mx.array, mx.array] | None = None

    def rotate(self, x: mx.array, offset: int | mx.array) -> mx.array:
        """Rotate x [batch, heads, time, dims] from position `offset` on, one for all or [batch]."""
        if isinstance(offset, mx.array) and offset.ndim == 0:
            offset = int(np.array(offset))
        here, there = self._at(offset, x.shape[2])
        if x.shape[2] == 1:  # decoding, where the number of operations is what costs
            return cast(mx.array, _combined(x, x @ self.exchange, here, there))
        half = self.dims // 2
        swapped = mx.concatenate([x[..., half:], x[..., :half]], axis=-1) if self.halves else x[..., self.swap]
        return x * here + swapped * there

    def _at(self, offset: int | mx.array, time: int) -> tuple[mx.array, mx.array]:
        """The rows of these positions; every layer of a step asks for the same ones."""
        last = self._offset
        same = offset == last if isinstance(offset, int) and isinstance(last, int) else offset is last
        if self._rows is None or not same or time != self._time:
            self._offset, self._time = offset, time
            if isinstance(offset, int):
                self._reach(offset + time)
                self._rows = self.here[offset : offset + time], self.there[offset : offset + time]
            else:
                self._reach(int(np.array(offset).max()) + time)  # made on the host, as a rule: nothing to wait for
                places = offset[:, None] + mx.arange(time)
                self._rows = self.here[places][:, None], self.there[places][:, None]
        return self._rows

    def _reach(self, positions: int) -> None:
        """Extend the table to this many positions."""
        if positions <= self.positions:
            return
        self.positions = max(FIRST_POSITIONS, self.positions)
        while self.positions < positions:
            self.positions *= 2
        dims = np.arange(self.dims)
        first, second = (mx.array(chosen.astype(np.float32)) for chosen in (self.pairs >= dims, self.pairs < dims))
        shape = (1, 1, self.positions, self.dims)
        by_first, by_second = (self.rope(mx.broadcast_to(part, shape))[0, 0] for part in (first, second))
        self.here = by_first * first + by_second * second  # [positions, dims]
        self.there = by_first * second + by_second * first
        mx.eval(self.here, self.there)


class TabledRope(nn.Module):
    """A model's rope that looks rotations up for arrays `on_cpu`; its table is for the dims of the first call."""

    def __init__(self, rope: nn.Module, tables: "Tables") -> None:
        super().__init__()
        self._rope, self._tables = rope, tables
        self._table: Table | None = None
        self._tried = False

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        if not on_cpu(x) or x.ndim != 4:
            return cast(mx.array, self._rope(x, offset=offset))
        if not self._tried:
            self._table, self._tried = self._tables.of(self._rope, x.shape[-1]), True
        if self._table is None or self._table.dims != x.shape[-1]:
            return cast(mx.array, self._rope(x, offset=offset))
        return self._table.rotate(x, offset)


class Tables:
    """The tables of one model; layers that rotate alike share theirs."""

    def __init__(self) -> None:
        self.known: dict[bytes, Table] = {}

    def of(self, rope: Any, dims: int) -> Table | None:
        """Return the table of a rope; None if it does not rotate pairs by position alone."""
        sizes = (1, 257)
        unit = mx.eye(dims)[:, None, None]  # [dims, 1, 1, dims]
        rotations = np.stack([np.array(rope(unit, offset=size))[:, 0, 0] for size in sizes])
        key = rotations.tobytes()
        if key not in self.known:
            apart = np.abs(rotations[0]) + np.abs(rotations[1])
            np.fill_diagonal(apart, 0)
            pairs = np.where(apart.any(axis=1), apart.argmax(axis=1), np.arange(dims))
            if not (pairs[pairs] == np.arange(dims)).all():
                return None
            table = Table(rope, pairs)
            probe = mx.random.normal((1, 1, 3, dims), key=mx.random.key(0))
            if any(not mx.allclose(table.rotate(probe, size), rope(probe, offset=size), 1e-5, 1e-5) for size in sizes):
                return None
            self.known[key] = table
        return self.known[key]


def install(model: nn.Module) -> None:
    """Let every rope of the model use tables."""
    tables = Tables()
    for part in list(model.modules()):
        rope = getattr(part, "rope", None)
        if isinstance(rope, nn.Module) and not isinstance(rope, TabledRope):
            part.rope = TabledRope(rope, tables)
