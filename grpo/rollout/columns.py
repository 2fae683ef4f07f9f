"""Keys or values of rows being decoded, a column a token, in memory that grows by blocks; whole or quantised."""

from collections.abc import Sequence

import mlx.core as mx

from grpo.config.sections import ConfigError

KV_BLOCK = 64  # columns by which the memory grows


class Columns:
    """The keys or values of one layer, [batch, kv_heads, columns, dims].

    With `bits` each column is kept as mx.quantize makes it, in groups of 64 or 32 numbers with a scale and a bias, and
    all are made whole again when they are read.
    """

    def __init__(self, bits: int = 0) -> None:
        self.bits = bits
        self.group = 0  # numbers that share a scale
        self.parts: list[mx.array] = []  # the numbers, or their codes, scales and biases; none before the first column

    def write(self, at: int, column: mx.array) -> None:
        """Put [batch, kv_heads, 1, dims] in its place; `at` is at most one beyond the last."""
        for i, new in enumerate(self._encoded(column)):
            if i == len(self.parts):
                self.parts.append(_block_like(new))
            elif at == self.parts[i].shape[2]:
                self.parts[i] = mx.concatenate([self.parts[i], _block_like(new)], axis=2)
            self.parts[i][:, :, at : at + 1] = new

    def read(self, columns: int) -> mx.array:
        """Return the first columns."""
        numbers, *rest = (part[:, :, :columns] for part in self.parts)
        if not self.bits:
            return numbers
        scales, biases = rest
        return mx.dequantize(numbers, scales, biases, group_size=self.group, bits=self.bits)

    def with_more_rows(self, rows: int) -> "Columns":
        """Return these columns with empty rows added at the end."""
        return self._of([mx.concatenate([part, mx.zeros((rows, *part.shape[1:]), part.dtype)]) for part in self.parts])

    def keep(self, rows: mx.array, start: int) -> "Columns":
        """Return these rows, from one column on."""
        return self._of([part[rows, :, start:] for part in self.parts])

    def gather(self, rows: mx.array, columns: mx.array) -> mx.array | None:
        """Return these columns [rows, n] of these rows, whole, [rows, kv_heads, n, dims]; None before the first."""
        if not self.parts:
            return None
        return self._of([_columns(part[rows], columns) for part in self.parts]).read(columns.shape[1])

    def put(self, rows: mx.array, source: mx.array, columns: int, new: mx.array, batch: int) -> None:
        """Replace rows by columns of their own (the first `columns`) and of `new`, which are counted after those.

        `source` [rows, width] says which; the other rows move to the right so that all end with column `width`.
        """
        width = source.shape[1]
        for i, fresh in enumerate(self._encoded(new)):
            if i == len(self.parts):  # the rows ended at their first token
                self.parts.append(mx.zeros((batch, fresh.shape[1], 0, fresh.shape[3]), fresh.dtype))
            part = self.parts[i][:, :, :columns]
            replaced = _columns(mx.concatenate([part[rows], fresh], axis=2), source)
            moved = mx.pad(part, [(0, 0), (0, 0), (width - columns, 0), (0, 0)])
            moved[rows] = replaced
            self.parts[i] = moved

    def _of(self, parts: Sequence[mx.array]) -> "Columns":
        other = Columns(self.bits)
        other.group, other.parts = self.group, list(parts)
        return other

    def _encoded(self, column: mx.array) -> Sequence[mx.array]:
        if not self.bits:
            return [column]
        dims = column.shape[3]
        self.group = next((size for size in (64, 32) if dims % size == 0), 0)
        if not self.group:
            raise ConfigError(f"kv_bits needs a head size that is a multiple of 32, this model's is {dims}: leave it 0")
        return mx.quantize(column, group_size=self.group, bits=self.bits)


def _columns(part: mx.array, columns: mx.array) -> mx.array:
    """[rows, kv_heads, n, dims] and [rows, m] -> [rows, kv_heads, m, dims]."""
    rows, heads, _, dims = part.shape
    return mx.take_along_axis(
        part, mx.broadcast_to(columns[:, None, :, None], (rows, heads, columns.shape[1], dims)), axis=2
    )


def _block_like(column: mx.array) -> mx.array:
    return mx.zeros((*column.shape[:2], KV_BLOCK, column.shape[3]), column.dtype)
