"""Files of JSON lines that several processes append to; a line ends with its own hash.

So a line that a kill tore, or a bit that has changed since, is not read as another value.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

KEY = "sha256"
HEX = re.compile(rb"[0-9a-f]{16}")  # a part of a hash, however few of its digits have changed


def append(path: Path, rows: Iterable[str]) -> None:
    """Append JSON objects with at least one key as lines, all at once; they are on the disk when this returns.

    Each gets one more key, the hash of the text before it. What follows a torn line begins on a line of its own.
    """
    lines = b"".join(map(_hashed, rows))
    with path.open("ab+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        end = handle.seek(0, os.SEEK_END)
        torn = end > 0 and os.pread(handle.fileno(), 1, end - 1) != b"\n"
        handle.write(b"\n" + lines if torn else lines)
        handle.flush()
        os.fsync(handle.fileno())


def intact(line: bytes) -> bool:
    """Return whether a line is as `append` wrote it; one that ends with no hash, of an earlier version, passes."""
    text, end = line[:-HASH_BYTES], line[-HASH_BYTES:]
    return end == _end(text) or HEX.search(end) is None


def _hashed(row: str) -> bytes:
    text = row.encode("utf-8", "replace").removesuffix(b"}")
    return text + _end(text)


def _end(text: bytes) -> bytes:
    return f', "{KEY}": "{hashlib.sha256(text).hexdigest()}"}}\n'.encode()


HASH_BYTES = len(_end(b""))
