"""Assert that work is quick, whatever else the process does meanwhile."""

import gc
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes more than `seconds` of this thread's CPU time.

    Other threads are not counted, nor the collection of a heap that thousands of tests have filled.
    """
    gc.disable()
    try:
        start = time.thread_time()
        yield
        taken = time.thread_time() - start
    finally:
        gc.enable()
    assert taken < seconds, f"took {taken:.2f} s of CPU time where {seconds} s are allowed"


def seconds_of(*command: str) -> float:
    """Run a command that succeeds, and return its CPU time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
