"""The second half of rejection sampling: from samples to a corpus, with a line of the funnel for every rule.

Nothing here samples: rules can be changed and the corpus built again in seconds. Prompts go through one after the
other, and what they leave is handed on at once; only near duplicates need all rows together.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distill.corpus.duplicates import ProblemIndex, near_duplicates, problem_texts
from distill.corpus.readers import read_corpus
from distill.corpus.row import CorpusRow, hash_order
from distill.corpus.rules import order_of, reasons
from distill.rejection.candidates import Candidate, agreement, choose, pass_rate, row_of
from distill.rejection.config import RejectionConfig
from distill.rejection.records import Record
from distill.rejection.sampling import rules_of, seen
from grpo.config.sections import ConfigError
from rewards import RewardSet
from rewards.base import prompt_text

JUDGED_TOGETHER = 64  # candidates a call


@dataclass(frozen=True)
class Step:
    """A line of the funnel."""

    name: str
    dropped: int
    completions: int  # that are left
    prompts: int  # that have one of them


@dataclass
class Line:
    """A line of the funnel while it is counted."""

    dropped: int = 0
    completions: int = 0
    prompts: int = 0


@dataclass
class Funnel:
    """What every rule dropped, in the rules' order."""

    lines: dict[str, Line] = field(default_factory=dict)
    always: set[str] = field(default_factory=set)  # lines that are shown though they dropped nothing

    def open(self, names: Iterable[str], *, always: bool = True) -> None:
        """Have lines for these rules."""
        for name in names:
            self.lines.setdefault(name, Line())
            self.always |= {name} if always else set()

    def count(self, name: str, dropped: int, left: int) -> None:
        """Count what a rule did to one prompt's completions."""
        line = self.lines[name]
        line.dropped += dropped
        line.completions += left
        line.prompts += left > 0

    @property
    def steps(self) -> list[Step]:
        """The lines as they are shown."""
        return [
            Step(name, line.dropped, line.completions, line.prompts)
            for name, line in self.lines.items()
            if line.dropped or name in self.always
        ]


@dataclass(frozen=True)
class Passed:
    """What a prompt leaves: rows for the corpus, and its rejected completions with their reasons."""

    rows: list[tuple[Candidate, CorpusRow]]
    rejected: list[dict[str, Any]]


class Building:
    """The corpus of a run's records, prompt by prompt; `funnel` and `figures` are whole when all have gone through."""

    def __init__(
        self,
        config: RejectionConfig,
        judge: RewardSet | None = None,
        adapter: str | None = None,
        on_judged: Callable[[int], None] = lambda done: None,
    ) -> None:
        """`judge` measures the reward `judge`; `adapter` is its file's hash; `on_judged` hears how many it has seen."""
        self.config, self.judge, self.adapter, self.on_judged = config, judge, adapter, on_judged
        self.rules = rules_of(config)
        self.names = order_of(self.rules)
        self.funnel = Funnel()
        self.funnel.open(["sampled"])
        self.funnel.open(self.names, always=False)
        self.funnel.always |= set(config.require)
        rated = config.min_pass_rate > 0 or config.max_pass_rate < 1
        self.chosen = f"not_{config.choose}" if config.choose != "all" else "same_text"
        self.later = [
            *(["judge_gave_no_verdict", "judge"] if judge is not None else []),
            *(["pass_rate"] if rated else []),
            self.chosen,
            *(["contaminated"] if config.decontaminate else []),
        ]
        self.funnel.open(self.later)
        self.problems = problem_index(config)
        self.judged = self.prompts = self.left_out = self.tokens = self.kept = 0
        self.rates: Counter[float] = Counter()
        self.failures: Counter[str] = Counter()

    def passed(self, records: Iterable[Record]) -> Iterator[Passed]:
        """Yield what each prompt leaves, in the records' order, a few prompts later where a judge is asked.

        Raises ConfigError where the judge does not answer at all: what it has said so far is in its cache.
        """
        waiting: list[tuple[list[Candidate], list[dict[str, Any]]]] = []
        for record in records:
            waiting.append(self._by_rules(record))
            if self.judge is None or sum(len(kept) for kept, _ in waiting) >= JUDGED_TOGETHER:
                yield from self._all_judged(waiting)
                waiting = []
        yield from self._all_judged(waiting)

    def figures(self) -> dict[str, Any]:
        """Counts and pass rates of what has gone through."""
        found: dict[str, Any] = {
            "prompts": self.prompts,
            "prompts_left_out": self.left_out,
            "reward_failures": dict(self.failures),
            "sampled": self.funnel.lines["sampled"].completions,
            "tokens": self.tokens,
        }
        if rated := sum(self.rates.values()):
            found["pass_rate"] = sum(rate * count for rate, count in self.rates.items()) / rated
            found["always_right"] = self.rates[1.0] / rated
            found["never_right"] = self.rates[0.0] / rated
        return found

    def _by_rules(self, record: Record) -> tuple[list[Candidate], list[dict[str, Any]]]:
        """A prompt's completions that break no rule, and the others."""
        self.prompts += 1
        self.left_out += record.left_out is not None
        self.failures.update(record.failures or {})
        rate, shares = pass_rate(record, self.config.right), agreement(record)
        if rate is not None:
            self.rates[rate] += 1
        kept: list[Candidate] = []
        rejected: list[dict[str, Any]] = []
        broken: Counter[str] = Counter()
        for place, sample in enumerate(record.samples):
            self.tokens += sample.tokens
            candidate = Candidate(record, place, rate, shares[place])
            why = reasons(seen(record, sample), self.rules)
            if why:
                broken[why[0]] += 1
                rejected.append(rejection(candidate, why))
            else:
                kept.append(candidate)
        left = len(record.samples)
        self.funnel.count("sampled", 0, left)
        for name in self.names:
            left -= broken[name]
            self.funnel.count(name, broken[name], left)
        return kept, rejected

    def _all_judged(self, waiting: Sequence[tuple[list[Candidate], list[dict[str, Any]]]]) -> Iterator[Passed]:
        """What these prompts leave after the judge, who sees their completions together."""
        verdicts = iter(self._verdicts([one for kept, _ in waiting for one in kept]))
        for kept, rejected in waiting:
            yield self._chosen([replace(one, verdict=next(verdicts)) for one in kept], rejected)

    def _verdicts(self, kept: Sequence[Candidate]) -> list[float | None]:
        """The judge's verdict on each, None without a judge."""
        if self.judge is None or not kept:
            return [None] * len(kept)
        domains = [one.record.task.columns.get("domain") for one in kept]
        scores = self.judge.score(
            [prompt_text(one.record.task.prompt) for one in kept],
            [one.sample.text for one in kept],
            columns={"domain": domains} if any(domains) else {},
        )
        verdicts = scores.values["judge"]
        if scores.failures and all(verdict is None for verdict in verdicts):
            why = next(iter(scores.messages.values()), ", ".join(scores.failures))
            raise ConfigError(f"the judge gives no verdict: {why}; run again to continue")
        self.judged += len(kept)
        self.on_judged(self.judged)
        return list(verdicts)

    def _chosen(self, kept: list[Candidate], rejected: list[dict[str, Any]]) -> Passed:
        """What of one prompt stays."""
        config = self.config

        def part(name: str, candidates: list[Candidate], stays: Callable[[Candidate], bool]) -> list[Candidate]:
            left = [one for one in candidates if stays(one)]
            rejected.extend(rejection(one, [name]) for one in candidates if not stays(one))
            self.funnel.count(name, len(candidates) - len(left), len(left))
            return left

        if self.judge is not None:
            kept = part("judge_gave_no_verdict", kept, lambda one: one.verdict is not None)
            kept = part("judge", kept, lambda one: (one.verdict or 0.0) >= config.min_judge)
        if "pass_rate" in self.later:
            low, high = config.min_pass_rate, config.max_pass_rate
            kept = part("pass_rate", kept, lambda one: low <= (one.pass_rate or 0.0) <= high)
        stay = {one.key for one in choose(config, kept)} if kept else set()
        kept = part(self.chosen, kept, lambda one: one.key in stay)
        rows = {one.key: row_of(config, one, self.adapter) for one in kept}
        if self.problems is not None:
            problems = self.problems
            kept = part("contaminated", kept, lambda one: problems.holds(rows[one.key].text) is None)
        self.kept += len(kept)
        return Passed([(one, rows[one.key]) for one in kept], sorted(rejected, key=lambda row: row["sample"]))

    def without_near_duplicates(
        self, rows: Sequence[tuple[Candidate, CorpusRow]]
    ) -> tuple[list[CorpusRow], list[dict[str, Any]]]:
        """The rows that repeat no earlier one, and the others as rejected; needs them all."""
        threshold = self.config.near_duplicates
        assert threshold is not None
        repeats = near_duplicates([row.text for _, row in rows], threshold)
        pairs = list(zip(rows, repeats, strict=True))
        kept = [row for (_, row), earlier in pairs if earlier is None]
        prompts = len({one.record.number for (one, _), earlier in pairs if earlier is None})
        self.funnel.open(["near_duplicate"])
        self.funnel.lines["near_duplicate"] = Line(len(rows) - len(kept), len(kept), prompts)
        self.kept = len(kept)
        return kept, [rejection(one, ["near_duplicate"]) for (one, _), earlier in pairs if earlier is not None]


def rejection(candidate: Candidate, why: Sequence[str]) -> dict[str, Any]:
    """A completion that goes, and why, as rejected.jsonl has it."""
    sample, record = candidate.sample, candidate.record
    return {"number": record.number, "sample": candidate.place, "reasons": list(why), "prompt": record.task.prompt,
            "completion": sample.text, "stop_reason": sample.stop_reason, "rewards": dict(sample.rewards),
            "answer": record.task.columns.get("answer")}  # fmt: skip


def problem_index(config: RejectionConfig) -> ProblemIndex | None:
    """The benchmark problems that no row may hold; None where there are none."""
    if not config.decontaminate:
        return None
    return ProblemIndex([pair for file in config.decontaminate for pair in problem_texts(file)])


def mixed_in(config: RejectionConfig, kept: int, problems: ProblemIndex | None) -> tuple[list[CorpusRow], int]:
    """The rows without reasoning that are mixed in, in the seed's order, and how many were wanted."""
    if config.mix is None:
        return [], 0
    wanted = round(kept * config.mix_share / (1 - config.mix_share))
    rows = read_corpus(config.mix, requires_reasoning=False).rows
    if problems is not None:
        rows = [row for row in rows if problems.holds(row.text) is None]
    if not rows:
        raise ConfigError(f"mix {config.mix}: no row that can be mixed in")
    return sorted(rows, key=lambda row: hash_order(row.text, config.seed))[:wanted], wanted
