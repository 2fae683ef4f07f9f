r"""`accuracy` and `accuracy_lenient`: 1 where the final answer is the reference's, 0 where it is not.

The reference is column `answer` (or `solution`): an answer, a worked solution that ends in `\boxed{}` or `####`, or
a list of answers of which any will do. A reference that can't be read gives None and is counted, never 1. The
profiles differ in what they forgive: see `rewards.maths.equality` for the conventions; log both, and worry when they
part.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.base import Completion, Judged, completion_text, prompt_text, seen_prompts
from rewards.maths.equality import Comparison, Undecided, numbers_only, same_answer
from rewards.maths.exact import read_number
from rewards.maths.final_answer import EXTRACTS, Answer, Extract, final_answer, last_boxes
from rewards.maths.text import MAX_ANSWER, depth_of, normalise
from rewards.maths.units import without_units, words_of
from rewards.maths.verifier import Item, shared
from rewards.sections import opened_by_prompt

MAX_DEPTH = 20
_FAST = {strict: Comparison(numbers_only, strict=strict) for strict in (True, False)}
_VALUES: dict[str, float | None] = {"ok": 1.0, "gold_bad": None, "deadline": None}  # any other outcome is 0
_NAMES = {"timeout": "timeout_verifier"}  # `timeout` alone is the whole reward's
_TOWER = re.compile(r"\^\{?[0-9().]+\^\{?[0-9(]|\^\{?[+-]?[0-9]{4,}|[)}\]]\^\{?[0-9]{3,}")
_FACTORIAL = re.compile(r"!\)?!|[0-9]{4,}\)?!|\^[^!^]{0,9}[)}\]]!|!.*!.*!|\\binom\{[^{}]{5,}|\\binom.{0,40}\^")
_REPEATED = re.compile(
    r"(?:\^\{[^{}^]{0,6}){4}|(?:\^[0-9A-Za-z]){4}|[-+]{20}|\|{8}|(?:\\pm.*){8}"
    r"|(?:\\(?:log|ln|sin|cos|tan|frac|sqrt|text)[{( ]*){6}"
)
_LONG_NUMBER = re.compile(r"[0-9]{400}")
_CALLS = re.compile(r"\b(?:zeros|ones|eye|range|matrix|import|lambda|eval|exec|open)\b|__", re.IGNORECASE)
_REFUSED = (_TOWER, _FACTORIAL, _REPEATED, _LONG_NUMBER, _CALLS)
_ARITHMETIC = re.compile(r"(?:\\(?:frac|times|cdot|div|sqrt)|[0-9.,(){}+*/^-])+")
_OPERATOR = re.compile(r"[\\\\+*/^]|(?<=.)-")
_CHOICE_SAID = re.compile(
    r"(?:\b(?:is|it's|option|choice|choose|answer)\b|[:：]) ?\(?\*{0,2}([A-J])\*{0,2}\)?(?![A-Za-z'])"
)


@dataclass(frozen=True)
class Gold:
    """A reference answer, normalised."""

    text: str
    percent: bool  # the reference speaks of percent
    choice: bool  # a letter of a multiple choice


class AccuracyReward:
    """Exact-answer reward with a profile.

    Args:
        strict: refuse what has the right value but is no plain answer (sums, integrals, hedges, repeated tags).
        extract: where the answer is if there is neither box nor answer tag: auto, last_number, boxed, tag, hash.
    """

    required_columns = frozenset({"answer"})

    def __init__(self, *, strict: bool, extract: Extract = "auto") -> None:
        if extract not in EXTRACTS:
            raise ValueError(f"accuracy.extract must be one of {', '.join(EXTRACTS)}, got {extract!r}")
        self.strict, self.extract = strict, extract
        self.__name__ = "accuracy" if strict else "accuracy_lenient"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        answer: Sequence[Any] | None = None,
        solution: Sequence[Any] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        golds = answer if answer is not None else solution
        if golds is None:
            raise ValueError(f"{self.__name__} needs a column 'answer', got {', '.join(columns) or 'none'}")
        seen = seen_prompts(prompts, columns)
        rows = [self._row(*row) for row in zip(prompts, seen, completions, golds, strict=True)]
        pending = [item for row in rows if not isinstance(row, str) for item in row]
        found = shared().outcomes(pending) if pending else {}
        result = Judged()
        for row, gold, completion in zip(rows, golds, completions, strict=True):
            outcome = row if isinstance(row, str) else _best([found[item] for item in row])
            result.append(_VALUES.get(outcome, 0.0))
            name = _NAMES.get(outcome, outcome)
            result.count(name, _message(outcome, gold, completion))
        return result

    def close(self) -> None:
        """End the worker processes; they start again when needed."""
        shared().close()

    def _row(self, prompt: Completion, seen: str, completion: Completion, gold: Any) -> str | list[Item]:
        """The outcome of one completion, or the comparisons that need sympy."""
        golds = read_gold(gold)
        if not golds:
            return "gold_bad"
        question = prompt_text(prompt)
        text = completion_text(completion)
        taken = final_answer(text, self.extract, opened=opened_by_prompt(seen), lenient=not self.strict)
        if taken is None or len(taken.text) > MAX_ANSWER:
            return "unparsed" if taken is None else "refused"
        verdicts = [self._compare(reference, taken, question) for reference in golds]
        if "ok" in verdicts:
            return "ok"
        pending = [verdict for verdict in verdicts if isinstance(verdict, Item)]
        return pending or _best([str(verdict) for verdict in verdicts])

    def _compare(self, gold: Gold, taken: Answer, question: str) -> str | Item:
        answer = prepared(taken.text, question, strict=self.strict)
        if gold.choice and (said := _choice_in(taken)):
            answer = said
        if answer.endswith("%") and not gold.text.endswith("%") and (gold.percent or _asks_percent(question)):
            answer = answer.rstrip("% ")
        if self.strict and answer.replace(" ", "") != gold.text.replace(" ", "") and _copied(answer, question):
            return "wrong"
        if depth_of(answer) > MAX_DEPTH:
            return "refused"
        try:
            return "ok" if same_answer(gold.text, answer, _FAST[self.strict]) else "wrong"
        except Undecided:
            if _dangerous(answer):
                return "refused"
            return "gold_bad" if _dangerous(gold.text) else Item(gold.text, answer, self.strict)


def strict(*, extract: Extract = "auto") -> AccuracyReward:
    """`accuracy`: the profile to train on."""
    return AccuracyReward(strict=True, extract=extract)


def lenient(*, extract: Extract = "auto") -> AccuracyReward:
    """`accuracy_lenient`: the profile to compare with."""
    return AccuracyReward(strict=False, extract=extract)


@functools.lru_cache(maxsize=20_000)
def _read_one(gold: str) -> Gold | None:
    text = gold
    if "####" in text:
        text = text.rpartition("####")[2]
    elif "\\boxed" in text:
        text = _all_boxes(text) or text
    elif len(text) > 40 or "answer is" in text:
        taken = final_answer(text) if "answer is" in text.lower() else None
        text = taken.text if taken is not None else text
    if len(text) > MAX_ANSWER:
        return None
    text = without_units(normalise(text), any_words=True)
    if text.count("{") != text.count("}") or not any(ch.isalnum() for ch in text):
        return None
    choice = re.fullmatch(r"(?:\\text ?\{)?\(?[A-J]\)?\}?|\([A-J]\) .*|[A-J] [A-Z][a-z]+", text) is not None
    return Gold(text, percent="percent" in gold.lower(), choice=choice)


def read_gold(gold: Any) -> list[Gold]:
    """The reference answers that can be read; [] if none can, such as in an object."""
    if isinstance(gold, Mapping):
        return []
    several = gold if isinstance(gold, list | tuple) else [gold]
    return [found for one in several if one is not None and (found := _read_one(str(one))) is not None]


def _all_boxes(text: str) -> str:
    """Every box of a reference, as a list."""
    contents: list[str] = []
    while boxes := last_boxes(text):
        contents = [content.strip() for _, _, content in boxes] + contents
        text = text[: boxes[0][0]]
    return ", ".join(dict.fromkeys(contents))


@functools.lru_cache(maxsize=4096)
def _question_words(question: str) -> frozenset[str]:
    return words_of(question)


def prepared(text: str, question: str, *, strict: bool) -> str:
    """An answer normalised, without the units that the profile lets it have."""
    return without_units(normalise(text), _question_words(question), any_words=not strict)


def _asks_percent(question: str) -> bool:
    return "percent" in question.lower() or "%" in question


def _copied(answer: str, question: str) -> bool:
    """Whether the answer is arithmetic that the question itself holds: "1/2 + 1/6" to "What is 1/2 + 1/6?"."""
    squeezed = answer.replace(" ", "")
    if read_number(answer) is not None or not _ARITHMETIC.fullmatch(squeezed) or not _OPERATOR.search(squeezed):
        return False
    return squeezed in normalise(question[:4000]).replace(" ", "")


def _choice_in(taken: Answer) -> str | None:
    """The letter that a text without a box names as its choice."""
    said = _CHOICE_SAID.findall(taken.text) if taken.source in ("whole", "anchor", "number") else []
    return said[-1] if said else None


def _dangerous(text: str) -> bool:
    """Whether sympy is not to see a text: towers of powers, factorials of factorials, numbers without end, calls."""
    squeezed = text.replace(" ", "")
    return any(pattern.search(squeezed) for pattern in _REFUSED)


_RANK: Callable[[str], int] = (
    "ok",
    "timeout",
    "memory",
    "died",
    "deadline",
    "refused",
    "wrong",
    "unparsed",
    "gold_bad",
).index


def _best(outcomes: Sequence[str]) -> str:
    """One outcome for several references."""
    return min(outcomes, key=_RANK)


def _message(outcome: str, gold: Any, completion: Completion) -> str | None:
    if outcome == "gold_bad":
        return f"reference answer {str(gold)[:80]!r} can't be read: left out"
    if outcome in ("ok", "wrong", "unparsed"):
        return None
    return f"{outcome} while judging an answer that ends in {completion_text(completion)[-60:]!r}"
