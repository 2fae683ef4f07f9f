"""The second half of rejection sampling: from samples to a corpus, with a line of the funnel for every rule.

Nothing here samples: rules can be changed and the corpus built again in seconds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distill.corpus.duplicates import ProblemIndex, near_duplicates, problem_texts
from distill.corpus.readers import read_corpus
from distill.corpus.row import CorpusRow, hash_order, shuffled
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
class Funnel:
    """Counts of what every rule dropped, and each dropped completion with its reasons."""

    steps: list[Step] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def line(self, name: str, dropped: int, left: Iterable[Candidate]) -> None:
        """One more rule."""
        left = list(left)
        self.steps.append(Step(name, dropped, len(left), len({one.record.number for one in left})))

    def reject(self, candidate: Candidate, why: Sequence[str]) -> None:
        """Note a completion that goes, and why."""
        sample, record = candidate.sample, candidate.record
        self.rejected.append(
            {"number": record.number, "sample": candidate.place, "reasons": list(why), "prompt": record.task.prompt,
             "completion": sample.text, "stop_reason": sample.stop_reason, "rewards": dict(sample.rewards),
             "answer": record.task.columns.get("answer")}
        )  # fmt: skip

    def part(self, name: str, candidates: Sequence[Candidate], stays: Callable[[Candidate], bool]) -> list[Candidate]:
        """Those that stay; the others are rejected for this reason."""
        left = [one for one in candidates if stays(one)]
        for one in candidates:
            if not stays(one):
                self.reject(one, [name])
        self.line(name, len(candidates) - len(left), left)
        return left


@dataclass(frozen=True)
class Built:
    """A corpus and how it came about."""

    rows: list[CorpusRow]
    funnel: Funnel
    figures: dict[str, Any]


def build(
    config: RejectionConfig,
    records: Iterable[Record],
    judge: RewardSet | None,
    adapter: str | None,
    on_judged: Callable[[int, int], None] = lambda done, of: None,
) -> Built:
    """The corpus of these records. `judge` measures the reward `judge`; `adapter` is its file's hash.

    `on_judged` hears how many candidates the judge has seen, and of how many. Raises ConfigError where the judge does
    not answer at all: what it has said so far is in its cache.
    """
    funnel = Funnel()
    kept, figures = _by_rules(config, records, funnel)
    if judge is not None:
        kept = _judged(config, kept, judge, funnel, on_judged)
    if config.min_pass_rate > 0 or config.max_pass_rate < 1:
        low, high = config.min_pass_rate, config.max_pass_rate
        kept = funnel.part("pass_rate", kept, lambda one: low <= (one.pass_rate or 0.0) <= high)
    kept = _chosen(config, kept, funnel)
    rows = [(one, row_of(config, one, adapter)) for one in kept]
    if config.decontaminate:
        index = ProblemIndex([pair for file in config.decontaminate for pair in problem_texts(file)])
        clean = {one.key for one, row in rows if index.holds(row.text) is None}
        kept = funnel.part("contaminated", kept, lambda one: one.key in clean)
    if config.near_duplicates is not None:
        left = {one.key for one in kept}
        rows = [(one, row) for one, row in rows if one.key in left]
        repeats = near_duplicates([row.text for _, row in rows], config.near_duplicates)
        single = {one.key for (one, _), earlier in zip(rows, repeats, strict=True) if earlier is None}
        kept = funnel.part("near_duplicate", kept, lambda one: one.key in single)
    left = {one.key for one in kept}
    corpus = [row for one, row in rows if one.key in left]
    wanted = round(len(corpus) * config.mix_share / (1 - config.mix_share)) if config.mix is not None else 0
    mixed = _mixed(config)[:wanted]
    figures |= {"kept": len(corpus), "mixed_in": len(mixed), "mix_wanted": wanted, "rows": len(corpus) + len(mixed)}
    return Built(shuffled([*corpus, *mixed], config.seed), funnel, figures)


def _by_rules(
    config: RejectionConfig, records: Iterable[Record], funnel: Funnel
) -> tuple[list[Candidate], dict[str, Any]]:
    """The candidates that break no rule; the funnel gets a line for each rule in its order."""
    rules, first = rules_of(config), Counter[str]()
    kept: list[Candidate] = []
    prompts, sampled, tokens, left_out, rates, failures = 0, 0, 0, 0, [], Counter[str]()
    broken_by: list[tuple[str, int]] = []
    for record in records:
        prompts += 1
        left_out += record.left_out is not None
        failures.update(record.failures or {})
        rate, shares = pass_rate(record, config.right), agreement(record)
        rates += [rate] if rate is not None else []
        for place, sample in enumerate(record.samples):
            sampled += 1
            tokens += sample.tokens
            candidate = Candidate(record, place, rate, shares[place])
            why = reasons(seen(record, sample), rules)
            if not why:
                kept.append(candidate)
                continue
            first[why[0]] += 1
            broken_by.append((why[0], record.number))
            funnel.reject(candidate, why)
    kept.sort(key=lambda one: one.key)
    names = order_of(rules)
    going = [one.record.number for one in kept]
    funnel.steps.append(Step("sampled", 0, sampled, prompts - left_out))
    for at, name in enumerate(names):
        later = {number for reason, number in broken_by if names.index(reason) > at}
        sampled -= first[name]
        if first[name] or name in config.require:
            funnel.steps.append(Step(name, first[name], sampled, len({*going, *later})))
    figures: dict[str, Any] = {"prompts": prompts, "prompts_left_out": left_out, "reward_failures": dict(failures)}
    figures |= {"sampled": sum(first.values()) + len(kept), "tokens": tokens}
    if rates:
        figures["pass_rate"] = sum(rates) / len(rates)
        figures["always_right"] = sum(rate == 1 for rate in rates) / len(rates)
        figures["never_right"] = sum(rate == 0 for rate in rates) / len(rates)
    return kept, figures


def _judged(
    config: RejectionConfig,
    kept: Sequence[Candidate],
    judge: RewardSet,
    funnel: Funnel,
    on_judged: Callable[[int, int], None],
) -> list[Candidate]:
    """The candidates with their verdicts, less those with none or a bad one."""
    judged: list[Candidate] = []
    for at in range(0, len(kept), JUDGED_TOGETHER):
        some = kept[at : at + JUDGED_TOGETHER]
        domains = [one.record.task.columns.get("domain") for one in some]
        scores = judge.score(
            [prompt_text(one.record.task.prompt) for one in some],
            [one.sample.text for one in some],
            columns={"domain": domains} if any(domains) else {},
        )
        verdicts = scores.values["judge"]
        if scores.failures and all(verdict is None for verdict in verdicts):
            why = next(iter(scores.messages.values()), ", ".join(scores.failures))
            raise ConfigError(f"the judge gives no verdict: {why}; run again to continue")
        judged += [replace(one, verdict=verdict) for one, verdict in zip(some, verdicts, strict=True)]
        on_judged(len(judged), len(kept))
    judged = funnel.part("judge_gave_no_verdict", judged, lambda one: one.verdict is not None)
    return funnel.part("judge", judged, lambda one: (one.verdict or 0.0) >= config.min_judge)


def _chosen(config: RejectionConfig, kept: Sequence[Candidate], funnel: Funnel) -> list[Candidate]:
    """Of each prompt's candidates those that stay; the same text is there once."""
    by_prompt: dict[int, list[Candidate]] = {}
    for one in kept:
        by_prompt.setdefault(one.record.number, []).append(one)
    chosen = {one.key for group in by_prompt.values() for one in choose(config, group)}
    return funnel.part(f"not_{config.choose}" if config.choose != "all" else "same_text", kept,
                       lambda one: one.key in chosen)  # fmt: skip


def _mixed(config: RejectionConfig) -> list[CorpusRow]:
    """The rows without reasoning that may be mixed in, in the seed's order."""
    if config.mix is None:
        return []
    rows = read_corpus(config.mix, requires_reasoning=False).rows
    if config.decontaminate:
        index = ProblemIndex([pair for file in config.decontaminate for pair in problem_texts(file)])
        rows = [row for row in rows if index.holds(row.text) is None]
    if not rows:
        raise ConfigError(f"mix {config.mix}: no row that can be mixed in")
    return sorted(rows, key=lambda row: hash_order(row.text, config.seed))
