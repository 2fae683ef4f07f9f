"""Benchmarks that a run is measured by while it trains (`eval_benchmarks`).

What they are is the business of the package `benchmarks`, which builds on this one: it is found by name when a config
asks for it, as a loss is that is given as `module:function`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from grpo.algorithms.resolve import user_function
from grpo.config.sections import BenchmarkSettings
from grpo.model.policy import Policy

PROVIDER = "benchmarks.harness.training:open_benchmarks"


class Benchmarks(Protocol):
    """The benchmarks of a run, their problems loaded."""

    notes: Sequence[str]  # what the user should know of the problems

    def measure(
        self, policy: Policy, folder: Path, check: Callable[[], None], say: Callable[[str], None]
    ) -> dict[str, float]:
        """Return `NAME/pass@1` with its 95% interval, `NAME/truncated`, ...; completions go to folder/NAME.

        `check` is called often and may raise to stop; what is measured then is not measured again in that folder.
        """


def benchmarks_of(config: BenchmarkSettings) -> Benchmarks | None:
    """Return the benchmarks of a config, None without any; ConfigError or envs.DataError in one line."""
    if not config.eval_benchmarks:
        return None
    found: Benchmarks = user_function("eval_benchmarks", PROVIDER)(config)
    return found
