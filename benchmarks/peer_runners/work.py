"""Shared by every driver: MODEL DATA STEPS GROUP TOKENS on its command line, the reward, and its output.

Runs in the peers' environments, so it imports nothing but the standard library.
"""

import json
import sys
import time
from pathlib import Path
from typing import NamedTuple


class Work(NamedTuple):
    """The command line."""

    model: str
    rows: list  # {"prompt", "answer"}
    steps: int
    group: int
    tokens: int


def given():
    """The work of a driver."""
    model, data, *numbers = sys.argv[1:]
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()]
    return Work(model, rows, *map(int, numbers))


def fewer_words(text):
    """A reward with some spread, whatever the model writes."""
    return -len(text.split()) / 100


class Clock:
    """Prints `STEP seconds` after each step, with `ROLLOUT seconds tokens` where the driver can tell."""

    def __init__(self):
        self.start()

    def start(self):
        """A step begins."""
        self.last, self.rollout = time.perf_counter(), None

    def timed(self, decode, count):
        """`decode`, its time taken; `count` finds the tokens in what it returns."""

        def wrapped(*arguments, **keys):
            begin = time.perf_counter()
            result = decode(*arguments, **keys)
            self.rollout = (time.perf_counter() - begin, count(result))
            return result

        return wrapped

    def step(self):
        """A step ends, the next begins."""
        rollout = f" ROLLOUT {self.rollout[0]:.4f} {self.rollout[1]}" if self.rollout else ""
        print(f"\nSTEP {time.perf_counter() - self.last:.4f}{rollout}", flush=True)
        self.start()
