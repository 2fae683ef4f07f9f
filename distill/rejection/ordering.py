"""The corpus in an order that depends on the seed and the texts alone, whatever its size."""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from distill.corpus.row import CorpusRow, hash_order, to_line


class Shuffled:
    """Rows on their way into a file: written as they come, read back in the order of a hash of their texts.

    Of each row 24 bytes are kept in memory.
    """

    def __init__(self, scratch: Path, seed: int) -> None:
        """`scratch`: a file of its own, which `lines` removes."""
        self.scratch, self.seed = scratch, seed
        self.high, self.low, self.offsets = array("Q"), array("Q"), array("Q")
        self.handle: BinaryIO = scratch.open("wb")

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, rows: Iterable[CorpusRow]) -> None:
        """Take rows in."""
        for row in rows:
            order = hash_order(row.text, self.seed)
            self.high.append(int(order[:16], 16))
            self.low.append(int(order[16:32], 16))
            self.offsets.append(self.handle.tell())
            self.handle.write(to_line(row).encode(errors="replace"))

    def lines(self) -> Iterator[str]:
        """Yield the rows' lines in order, once."""
        self.handle.close()
        keys = [np.frombuffer(part, np.uint64) if part else np.zeros(0, np.uint64) for part in (self.low, self.high)]
        try:
            with self.scratch.open("rb") as handle:
                for at in np.lexsort(keys).tolist():
                    handle.seek(self.offsets[at])
                    yield handle.readline().decode()
        finally:
            self.scratch.unlink(missing_ok=True)
