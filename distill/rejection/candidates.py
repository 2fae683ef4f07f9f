"""A sampled completion on its way into the corpus: how sure it is, which of a prompt's stay, the row it becomes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.corpus.duplicates import words_of
from distill.corpus.row import DOMAINS, CorpusRow, Message, Provenance, Verdict, parts
from distill.rejection.config import RejectionConfig
from distill.rejection.records import Record, Sample

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


def pass_rate(record: Record, right: str | None) -> float | None:
    """Share of the prompt's samples with a value that are right: the reward is 0.5 or more and the text has its end.

    None where no sample has a value.
    """
    judged = [(sample.rewards.get(right), sample.stop_reason) for sample in record.samples] if right is not None else []
    values = [value >= 0.5 and stop == "stop" for value, stop in judged if value is not None and stop != "error"]
    return sum(values) / len(values) if values else None


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
    if sample.messages is not None:
        last = max(place for place, one in enumerate(sample.messages) if one["role"] == "assistant")
        said = str(sample.messages[last]["content"])
    reasoning, answer = parts(said)
    conversation: dict[str, Any] = {"prompt": task.prompt, "completion": said}
    if not isinstance(task.prompt, str):
        conversation = {
            "messages": [*map(Message.model_validate, task.prompt), Message(role="assistant", content=said)]
        }
    if sample.messages is not None:
        asked = [{"role": "user", "content": task.prompt}] if isinstance(task.prompt, str) else task.prompt
        spoken = [{"role": one["role"], "content": one["content"]} for one in [*asked, *sample.messages[: last + 1]]]
        conversation = {"messages": list(map(Message.model_validate, spoken)), "tools": list(one.record.tools) or None}
    columns: Mapping[str, Any] = task.columns
    domain, reference = columns.get("domain"), columns.get("answer")
    language = columns.get("language")
    provenance = Provenance(
        model=config.sampled_by,
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


def adapter_hash(adapter: str | None) -> str | None:
    """sha256 of the adapter's weights; None without one."""
    if adapter is None:
        return None
    from grpo.model.adapter_files import files_of
    from grpo.runs.checkpoint import sha256

    return sha256(files_of(adapter)[0])
