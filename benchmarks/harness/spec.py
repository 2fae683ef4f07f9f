"""A benchmark as data: its problems, their prompts, the judge of the answers, the published figures."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envs.base import Task

BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."  # arXiv 2501.12948, section 4

CODE_OPTIONS = {"code": {"deadline_seconds": 540.0}}  # for all samples of a problem


@dataclass(frozen=True)
class Published:
    """A figure somebody else measured, with their protocol. Never mixed with ours: tables mark it `published`."""

    model: str
    figures: Mapping[str, float]  # "pass@1", "cons@64": shares between 0 and 1
    source: str


@dataclass(frozen=True)
class Source:
    """A data set of the hub. `problems` is the expected number; another number is reported, not refused."""

    hub: str
    revision: str  # the commit that is read; results.json has it and the sha256 of what was read
    split: str = "test"
    configs: tuple[str | None, ...] = (None,)
    files: tuple[str, ...] = ()  # JSONL files of the repository, where `datasets` can't read it as a whole
    config_column: str | None = None  # the column that a row gets its configuration's name in
    problems: int | None = None
    shots: str | None = None  # the split with worked examples
    fingerprints: tuple[str, ...] = ()  # of `problems.fingerprint`: copies of the same problems in files


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. The first of `rewards` decides whether an answer is right (at least 1) or not."""

    name: str  # of the command
    source: Source | None
    variant: str = ""  # a year, a task: what one command runs several of
    prompt_column: str | None = None  # None: the usual names, see envs.rows
    answer_column: str | None = None  # None: likewise
    answer_required: bool = True
    language: str | None = "en"  # of the reasoning, where rows have no column of that name
    make: Callable[[Any], Sequence[Task]] | None = None  # Settings -> the problems, where they are generated
    adapt: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None  # a row -> the row that is read; ValueError
    keep: Callable[[Mapping[str, Any]], bool] | None = None  # of the adapted rows, those that are asked
    suffix: str = BOXED
    rewards: tuple[str, ...] = ("accuracy", "accuracy_lenient", "format", "language")
    reward_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reward_timeout_seconds: float = 600.0
    groups: tuple[str, ...] = ()  # columns whose values get rows of their own in the table
    limit_by: str | None = None  # the column whose values get `limit` problems each
    votes: bool = True  # whether answers can be the same, so that a majority vote means something
    samples: int = 4
    max_tokens: int = 4096
    published: tuple[Published, ...] = ()

    def limited(self, tasks: Sequence[Task], limit: int | None) -> list[Task]:
        """Return the first `limit` problems of each `limit_by` value, in their order; all of them for None."""
        if limit is None or self.limit_by is None:
            return list(tasks[:limit])
        counts: Counter[str] = Counter()
        kept = []
        for task in tasks:
            value = str(task.columns.get(self.limit_by))
            counts[value] += 1
            if counts[value] <= limit:
                kept.append(task)
        return kept
