"""A run's log.txt: everything said, the versions it ran with, and tracebacks in full."""

import contextlib
import os
import platform
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from grpo.ranks import here
from grpo.runs.interrupt import Interrupted
from rewards.printable import masked, printable

LOG = "log.txt"
PACKAGES = ("grpo-mlx", "mlx", "mlx-lm", "numpy", "transformers", "mpmath")


class RunLog:
    """Appends to log.txt of a run directory; several of them may write to one file. Only rank 0 writes."""

    def __init__(self, output: Path) -> None:
        self.path = output / LOG if here().writes else Path(os.devnull)
        self._frames: set[str] = set()  # of the tracebacks that `write_once` wrote

    def begin(self) -> None:
        """Write the command, the date and the versions of a sitting."""
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        self.write(f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}  {masked(command)}")
        self.write(versions())

    def write(self, text: str) -> None:
        """Append a text, its first line with the time of day."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')}  {printable(text.rstrip())}\n")

    def write_once(self, where: str, traceback: str) -> None:
        """Append a traceback unless one of the same frames was; what it ends with may hold a value and differ."""
        frames = traceback.rstrip().rpartition("\n")[0]
        if frames not in self._frames:
            self._frames.add(frames)
            self.write(f"{where}\n{traceback}")

    def heard(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Return a `say` whose lines are also written here."""

        def both(text: str) -> None:
            say(text)
            self.write(text)

        return both

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Write what ends the run in here, with its traceback, and pass it on."""
        try:
            yield
        except Interrupted as error:
            self.write(str(error))
            raise
        except BaseException as error:
            self.write("".join(traceback.format_exception(error)))
            raise


def versions() -> str:
    """Return Python, the machine and the packages that decide what a run computes."""
    found = []
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {', '.join(found)}"
