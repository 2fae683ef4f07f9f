"""Reads JSON lines, a JSON array or a `datasets` source into rows, each with the place it stands at."""

import gzip
import io
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from envs.base import DataError
from envs.rows import Row, encodable

JSON_SUFFIXES = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz")
WRAPPERS = ("data", "rows", "examples", "items", "train", "test", "validation")  # keys of an object around the rows
MOST_BYTES = 4 << 30  # of a packed file, unpacked
MOST_RATIO, SMALL_BYTES = 100, 64 << 20  # times its own size that it may unpack to; bytes that any may
TABLE_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".arrow": "arrow"}


def file_rows(path: str) -> Iterator[Row]:
    """The rows of a local JSON file, one an object; what cannot be parsed is yielded as the ValueError it is."""
    try:
        content = Path(path).expanduser().read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if path.endswith(".gz"):
        most = min(MOST_BYTES, max(SMALL_BYTES, MOST_RATIO * len(content)))
        try:
            with gzip.open(io.BytesIO(content)) as file:
                content = file.read(most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be unpacked: {one_line(error)}") from None
        if len(content) > most:
            raise DataError(f"{path}: unpacks to more than {most:,} bytes: unpack it first")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise DataError(f"{path}: is empty")
    whole = _whole(path, content)
    if whole is not None:
        rows = whole
        for number, row in enumerate(rows, start=1):
            yield f"{path}: row {number}", row if encodable(row) else ValueError("holds half a surrogate pair")
        return
    for number, line in enumerate(io.BytesIO(content), start=1):
        if line.strip():
            yield f"{path}:{number}", parse_line(line.removesuffix(b"\n"))


def _whole(path: str, content: bytes) -> list[Any] | None:
    """The rows of a file that is one array, or one object that holds them; None for JSON lines."""
    start = content.lstrip()[:1]
    if path.removesuffix(".gz").endswith(".jsonl") or start not in (b"[", b"{"):
        return None
    found = parse_line(content)
    if isinstance(found, list):
        return found
    if isinstance(found, ValueError) and start == b"[":
        raise DataError(f"{path}: {found}")
    if not isinstance(found, dict):
        return None
    lists = [name for name in WRAPPERS if isinstance(found.get(name), list)]
    if len(lists) > 1:
        raise DataError(
            f"{path}: is one object with the lists {', '.join(lists)}: write the rows of each to its own file"
        )
    if not lists and _is_table(found):
        return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
    return list(found[lists[0]]) if lists else None


def _is_table(found: dict[str, Any]) -> bool:
    """Return whether an object holds columns: several lists of plain values, all of one length."""
    lengths = {len(values) if isinstance(values, list) else -1 for values in found.values()}
    plain = all(
        not isinstance(value, dict | list) for values in found.values() if isinstance(values, list) for value in values
    )
    return len(found) > 1 and len(lengths) == 1 and min(lengths) > 1 and plain


def parse_line(content: bytes) -> Any:
    """The object of a JSON text; the ValueError that says what is wrong with it where there is none."""
    try:
        row = json.loads(content.decode())
    except UnicodeDecodeError:
        return ValueError("is not UTF-8")
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        return ValueError(f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]} at {at}")
    except (ValueError, RecursionError) as error:  # a number of more than 4,300 digits; brackets without end
        return ValueError(f"is not usable JSON: {str(error).splitlines()[0]}")
    return ValueError("holds half a surrogate pair") if b"\\u" in content and not encodable(row) else row


def hub_rows(source: str, *, configs: Sequence[str | None], split: str, revision: str | None) -> Iterator[Row]:
    """The rows of a split of a hub data set, of a local directory of data files, or of a local table."""
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; what came of them is told below
    builder = TABLE_SUFFIXES.get(Path(source).suffix)
    if builder is not None and not Path(source).is_file():
        raise DataError(f"{source}: no such file")
    for config in configs:
        try:
            if builder is not None:
                loaded = datasets.load_dataset(builder, data_files={split: source}, split=split)
            else:
                loaded = datasets.load_dataset(source, config, split=split, revision=revision)
        except Exception as error:  # the library lets through whatever its file systems, parsers and network raise
            hint = "; a local file needs no network" if isinstance(error, ConnectionError) else ""
            raise DataError(f"{source}: cannot be loaded by datasets: {one_line(error)}{hint}") from None
        prefix = ":".join(part for part in (source, config, split) if part)
        yield from _numbered(prefix, loaded)


def _numbered(prefix: str, rows: Iterable[Any]) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        yield f"{prefix}:{number}", row


def one_line(error: Exception) -> str:
    """What an exception says, on one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + " ..."
