"""A sampler that writes digit sums with known faults, for the tests of rejection sampling; also run as a process.

python scripted.py OUTPUT SECONDS_A_PROMPT [key=value ...]
"""

import random
import sys
import time
from pathlib import Path

from envs.digit_sums import imperfect_chain
from grpo.cpu.blas import load_blas

load_blas()

from distill.rejection import run  # noqa: E402
from distill.rejection.config import RejectionConfig  # noqa: E402
from distill.rejection.samplers import Completion, Drawn  # noqa: E402
from grpo.config.loading import load  # noqa: E402

FIXED = ["template=plain", "max_prompts=40", "samples=4", "chunk_prompts=8", "near_duplicates=null"]


class Scripted:
    """Three completions in ten have a wrong step, two another language, three a broken format, one no end."""

    def __init__(self, config, seconds=0.0):
        self.config, self.seconds, self.asked = config, seconds, []

    def sample(self, tasks, on_tokens):
        for number, task in reversed(tasks.items()):  # not in order: as they finish
            self.asked.append(number)
            time.sleep(self.seconds)
            on_tokens(10)
            yield Drawn(number, task.prompt, tuple(self._one(task, number, k) for k in range(self.config.samples)))

    def _one(self, task, number, place):
        rng = random.Random(f"{self.config.seed} {number} {place}")
        text = imperfect_chain(task, rng, wrong=0.3, mixed=0.2, broken=0.3)
        if rng.random() < 0.1:
            return Completion(text[: len(text) // 2], 9, "length")
        return Completion(text, len(text.split()), "stop")


def settings(*overrides):
    return load(RejectionConfig, None, [*FIXED, *overrides])


if __name__ == "__main__":
    output, seconds, *more = sys.argv[1:]
    run._sampler = lambda config, *_: Scripted(config, float(seconds))
    run.run_rejection(settings(*more), Path(output))
