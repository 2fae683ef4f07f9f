"""The second half of rejection sampling: from samples to a corpus, with a line of the funnel for every rule.

Nothing here samples: rules can be changed and the corpus built again in seconds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.corpus import DOMAINS, CorpusRow, Message, Provenance, Verdict, hash_order, parts, shuffled
from distill.duplicates import ProblemIndex, near_duplicates, problem_texts, words_of
from distill.filters import order_of, reasons
from distill.readers import read_corpus
from distill.rejection_config import RejectionConfig
from distill.rejection_records import Record, Sample
from distill.rejection_sampling import rules_of, seen
from grpo.config import ConfigError
from rewards import RewardSet
from rewards.base import prompt_text

THINK = "<think>"


@dataclass(frozen=True)
class Candidate:
    """A sample on its way into the corpus."""

    record: Record
    place: int  # among its prompt's samples
    pass_rate: float | None
    certainty: float
    verdict: float | None = None  # the judge's, from 0 to 1

    @property
    def sample(self) -> Sample:
        return self.record.samples[self.place]

    @property
    def key(self) -> tuple[int, int]:
        return self.record.number, self.place


@dataclass(frozen=True)
class Step:
    """A line of the funnel."""

    name: str
    dropped: int
    completions: int  # that are left
    prompts: int  # that have one of them


@dataclass
class Funnel:
    """What every rule dropped, and each dropped completion with its reasons."""

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


def build(config: RejectionConfig, records: Iterable[Record], judge: RewardSet | None, adapter: str | None) -> Built:
    """The corpus of these records. `judge` measures the reward `judge`; `adapter` is its file's hash."""
    funnel = Funnel()
    kept, figures = _by_rules(config, records, funnel)
    if judge is not None:
        kept = _judged(config, kept, judge, funnel)
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
    mixed = _mixed(config, len(corpus))
    figures |= {"kept": len(corpus), "mixed_in": len(mixed), "rows": len(corpus) + len(mixed)}
    return Built(shuffled([*corpus, *mixed], config.seed), funnel, figures)


def _by_rules(
    config: RejectionConfig, records: Iterable[Record], funnel: Funnel
) -> tuple[list[Candidate], dict[str, Any]]:
    """The candidates that break no rule; the funnel gets a line for each rule in its order."""
    rules, first = rules_of(config), Counter[str]()
    kept: list[Candidate] = []
    prompts, sampled, left_out, rates, failures = 0, 0, 0, [], Counter[str]()
    broken_by: list[tuple[str, int]] = []
    for record in records:
        prompts += 1
        left_out += record.left_out is not None
        failures.update(record.failures or {})
        rate, shares = pass_rate(record, config.right), agreement(record)
        rates += [rate] if rate is not None else []
        for place, sample in enumerate(record.samples):
            sampled += 1
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
    figures["sampled"] = sum(first.values()) + len(kept)
    if rates:
        figures["pass_rate"] = sum(rates) / len(rates)
        figures["always_right"] = sum(rate == 1 for rate in rates) / len(rates)
        figures["never_right"] = sum(rate == 0 for rate in rates) / len(rates)
    return kept, figures


def pass_rate(record: Record, right: str | None) -> float | None:
    """Share of the prompt's samples with a value that are right (the reward is 0.5 or more); None without any."""
    values = [sample.rewards.get(right) for sample in record.samples] if right is not None else []
    judged = [value for value in values if value is not None]
    return sum(value >= 0.5 for value in judged) / len(judged) if judged else None


def difficulty(rate: float | None) -> int | None:
    """1 to 5: a prompt solved in at least 80 in 100 samples is 1, in less than 20 is 5."""
    return None if rate is None else 5 - min(4, int(rate * 5 + 1e-9))


def agreement(record: Record) -> list[float]:
    """For each sample the share of its prompt's samples with the same final answer, words compared."""
    answers = []
    for at, sample in enumerate(record.samples):
        answer = parts(sample.text, opened=record.opened)[1]
        answers.append(tuple(words_of(answer)) if answer else (f"no answer {at}",))
    counts = Counter(answers)
    return [counts[answer] / len(answers) for answer in answers]


def _judged(config: RejectionConfig, kept: Sequence[Candidate], judge: RewardSet, funnel: Funnel) -> list[Candidate]:
    """The candidates with their verdicts, less those with none or a bad one."""
    verdicts: list[float | None] = []
    for at in range(0, len(kept), 64):
        some = kept[at : at + 64]
        domains = [one.record.task.columns.get("domain") for one in some]
        scores = judge.score(
            [prompt_text(one.record.task.prompt) for one in some],
            [one.sample.text for one in some],
            columns={"domain": domains} if any(domains) else {},
        )
        verdicts += scores.values["judge"]
    judged = [
        Candidate(one.record, one.place, one.pass_rate, one.certainty, verdict)
        for one, verdict in zip(kept, verdicts, strict=True)
    ]
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


def choose(config: RejectionConfig, group: Sequence[Candidate]) -> list[Candidate]:
    """The candidates of one prompt that stay, at most keep_per_prompt unless all do."""
    distinct = list({" ".join(one.sample.text.split()): one for one in reversed(group)}.values())
    by_length = sorted(distinct, key=lambda one: (one.sample.tokens, one.key))
    if config.choose == "all":
        return by_length
    if config.choose == "best_judged":
        by_length.sort(key=lambda one: -(one.verdict or 0.0))
    if config.choose == "diverse":
        return farthest_texts(by_length, config.keep_per_prompt)
    return by_length[: config.keep_per_prompt]


def farthest_texts(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """The first, then each time the one whose words are least like those of any taken: 1 - |A & B| / |A | B|."""
    words = [set(words_of(one.sample.text)) for one in candidates]
    taken = [0]
    nearest = [1.0] * len(candidates)
    while len(taken) < min(count, len(candidates)):
        last = words[taken[-1]]
        for at, mine in enumerate(words):
            nearest[at] = min(nearest[at], 1 - len(mine & last) / max(1, len(mine | last)))
        taken.append(max((at for at in range(len(words)) if at not in taken), key=lambda at: (nearest[at], -at)))
    return [candidates[at] for at in taken]


def row_of(config: RejectionConfig, one: Candidate, adapter: str | None) -> CorpusRow:
    """The corpus row of a candidate."""
    task, sample = one.record.task, one.sample
    said = THINK + sample.text if one.record.opened and not sample.text.lstrip().startswith(THINK) else sample.text
    reasoning, answer = parts(said)
    conversation: dict[str, Any] = {"prompt": task.prompt, "completion": said}
    if not isinstance(task.prompt, str):
        conversation = {
            "messages": [*map(Message.model_validate, task.prompt), Message(role="assistant", content=said)]
        }
    columns: Mapping[str, Any] = task.columns
    domain, reference = columns.get("domain"), columns.get("answer")
    language = columns.get("language")
    provenance = Provenance(
        model=config.server or config.model,
        adapter_sha256=adapter,
        seed=config.seed,
        temperature=config.temperature,
        rewards=dict(sample.rewards),
        pass_rate=one.pass_rate,
        certainty=one.certainty,
        verdicts=[Verdict(judge=str((config.judge or {}).get("rubric", "judge")), value=one.verdict)]
        if one.verdict is not None
        else [],
    )
    return CorpusRow(
        id=f"{task.id}#{one.place}",
        **conversation,
        reasoning=reasoning,
        answer=answer,
        reference=None if reference is None else str(reference),
        domain=domain if domain in DOMAINS else config.domain,
        difficulty=difficulty(one.pass_rate),
        requires_reasoning=reasoning is not None,
        language=language if isinstance(language, str) else None,
        source=config.source or config.data,
        licence=config.licence,
        provenance=provenance,
    )


def _mixed(config: RejectionConfig, kept: int) -> list[CorpusRow]:
    """Rows without reasoning, as many as make up mix_share of the corpus, or all there are."""
    if config.mix is None:
        return []
    rows = read_corpus(config.mix, requires_reasoning=False).rows
    if config.decontaminate:
        index = ProblemIndex([pair for file in config.decontaminate for pair in problem_texts(file)])
        rows = [row for row in rows if index.holds(row.text) is None]
    if not rows:
        raise ConfigError(f"mix {config.mix}: no row that can be mixed in")
    wanted = round(kept * config.mix_share / (1 - config.mix_share))
    return sorted(rows, key=lambda row: hash_order(row.text, config.seed))[:wanted]


def adapter_hash(adapter: str | None) -> str | None:
    """sha256 of the adapter's weights; None without one."""
    if adapter is None:
        return None
    from grpo.checkpoint import sha256
    from grpo.policy import ADAPTER_FILE

    path = Path(adapter) / ADAPTER_FILE
    if not path.exists():
        raise ConfigError(f"adapter {adapter}: no {ADAPTER_FILE} there")
    return sha256(path)
