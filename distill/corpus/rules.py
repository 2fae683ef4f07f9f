"""Rules that a sampled completion must pass to become a corpus row. Each has a name, which is the reason given.

DeepSeek-R1 keeps what is right and drops mixed languages, long paragraphs and code blocks in the chain of thought
(arXiv 2501.12948, section 2.3.3). Rules are pure functions of text and measured rewards: they can be changed and the
corpus built again without sampling again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from distill.corpus.duplicates import words_of
from rewards.sections import PLAIN_TURNS, TURN_MARKS, split

FENCES = ("```", "~~~")
COPY_RUN = 5  # words of a run that is looked for in the prompt


@dataclass(frozen=True)
class Rules:
    """Rules that a completion must meet."""

    require: Mapping[str, float] = field(default_factory=dict)  # reward -> its least value
    may_lack: frozenset[str] = frozenset()  # rewards that may have no value
    max_paragraph_words: int | None = None  # of the reasoning
    code_in_reasoning: bool = False
    max_copied: float = 1.0  # share of its runs of words that stand in the prompt; 1 = no limit


@dataclass(frozen=True)
class Judged:
    """A completion as the rules see it."""

    prompt: str  # as the user wrote it
    completion: str
    stop_reason: str  # stop, length or error
    rewards: Mapping[str, float | None]
    opened: bool = False  # the prompt's template has written `<think>`


def reasons(item: Judged, rules: Rules) -> list[str]:
    """The names of all rules that a completion breaks, in the funnel's order; [] if it may stay."""
    if item.stop_reason == "error":
        return ["not_sampled"]
    if not item.completion.strip():
        return ["empty"]
    found = ["truncated"] if item.stop_reason == "length" else []
    found += [reason for name, least in rules.require.items() if (reason := _reward(name, least, item, rules))]
    if goes_on(item.completion):
        found.append("further_turn")
    reasoning = split(item.completion, opened=item.opened).reasoning or ""
    if not rules.code_in_reasoning and has_code_block(reasoning):
        found.append("code_block")
    if rules.max_paragraph_words is not None and longest_paragraph(reasoning) > rules.max_paragraph_words:
        found.append("long_paragraph")
    if rules.max_copied < 1 and copied_share(item.completion, item.prompt) > rules.max_copied:
        found.append("copies_prompt")
    return found


def _reward(name: str, least: float, item: Judged, rules: Rules) -> str | None:
    value = item.rewards.get(name)
    if value is None:
        return None if name in rules.may_lack else f"{name}_unknown"
    return None if value >= least else name


def order_of(rules: Rules) -> list[str]:
    """Every reason in the order in which the funnel takes them."""
    wanted = [reason for name in rules.require for reason in (f"{name}_unknown", name)]
    return ["not_sampled", "empty", "truncated", *wanted, "further_turn", "code_block", "long_paragraph",
            "copies_prompt"]  # fmt: skip


def goes_on(text: str) -> bool:
    """Return whether the completion plays a further turn of the conversation."""
    reasoned = max(text.find("</think>"), 0)
    return any(mark in text for mark in TURN_MARKS) or any(text.find(mark, reasoned) >= 0 for mark in PLAIN_TURNS)


def has_code_block(text: str) -> bool:
    """Return whether a line begins a fenced block."""
    return any(line.lstrip().startswith(FENCES) for line in text.splitlines())


def longest_paragraph(text: str) -> int:
    """Words of the longest paragraph; a blank line ends one."""
    longest = current = 0
    for line in text.splitlines():
        current = current + len(words_of(line)) if line.strip() else 0
        longest = max(longest, current)
    return longest


def copied_share(completion: str, prompt: str) -> float:
    """Share of the completion's runs of five words that stand in the prompt; a shorter completion is one run.

    0 where there is no word.
    """
    words, given = words_of(completion), words_of(prompt)
    size = min(COPY_RUN, len(words))
    if not size:
        return 0.0
    known = {tuple(given[at : at + size]) for at in range(len(given) - size + 1)}
    runs = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
    return sum(run in known for run in runs) / len(runs)
