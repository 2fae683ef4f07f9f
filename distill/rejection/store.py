"""Where shards on several machines meet: any place that fsspec can write to, such as an object store.

Each shard works in a directory of its own machine and puts the files it has finished into the store; before it looks
at what is left to do it fetches those of the others. With a folder that all machines see none of this is needed: they
can have one output.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from distill.rejection.records import SAMPLES, part_folder
from grpo.config.sections import ConfigError


class Store:
    """The samples of all shards at a URL; None = there is no store, and nothing is done."""

    def __init__(self, url: str | None, shard: str) -> None:
        """`shard`: whose files are put there. ConfigError where the URL is of nothing that fsspec knows."""
        self.url, self.shard = url, shard
        if url is not None:
            import fsspec

            with self._explained():
                self.files, self.root = fsspec.core.url_to_fs(url)

    def push(self, output: Path) -> None:
        """Put this shard's files there that have grown since."""
        if self.url is None:
            return
        with self._explained():
            there = self._sizes()
            for path in sorted(part_folder(output, self.shard).glob("*.jsonl")):
                name = path.relative_to(output / SAMPLES).as_posix()
                if there.get(name) != path.stat().st_size:
                    target = f"{self.root}/{SAMPLES}/{name}"
                    self.files.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                    self.files.put_file(str(path), target)

    def pull(self, output: Path) -> None:
        """Fetch the files that are longer there than here."""
        if self.url is None:
            return
        with self._explained():
            for name, size in self._sizes().items():
                path = output / SAMPLES / name
                if path.exists() and path.stat().st_size >= size:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".partial_{path.name}")
                self.files.get_file(f"{self.root}/{SAMPLES}/{name}", str(partial))
                os.replace(partial, path)

    def _sizes(self) -> dict[str, int]:
        """Return the bytes of every file there, by its shard and name."""
        folder = f"{self.root}/{SAMPLES}"
        self.files.invalidate_cache()
        if not self.files.exists(folder):
            return {}
        found: dict[str, Any] = self.files.find(folder, detail=True)
        return {
            "/".join(PurePosixPath(path).parts[-2:]): int(about["size"])
            for path, about in found.items()
            if path.endswith(".jsonl")
        }

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(f"store {self.url}: {' '.join(str(error).split()) or type(error).__name__}") from error
