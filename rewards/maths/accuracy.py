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
from rewards.maths.choices import letter_of_answer, letter_of_gold, letter_said, lists_options
from rewards.maths.equality import Comparison
from rewards.maths.final_answer import EXTRACTS, Answer, Extract, answering_part, boxed_answer, final_answer
from rewards.maths.grammar import read
from rewards.maths.quantities import plain_number
from rewards.maths.tokens import MAX_ANSWER
from rewards.maths.tree import Node, Reading
from rewards.maths.words import words_of
from rewards.sections import opened_by_prompt

_VALUES: dict[str, float | None] = {"ok": 1.0, "gold_bad": None}  # any other outcome is 0
_PROSE = ("auto", "last_number")  # values of extract that look outside boxes and tags
SHORT = 200  # characters of a completion that may be a choice as a whole: "b. 4"
_BLANK = re.compile(r"\s|\\[,;!:]|\\(?:left|right|displaystyle)(?![A-Za-z])|[{}$]|(?<=\\)[dt](?=frac)")
_ARITHMETIC = re.compile(r"(?:\\(?:frac|times|cdot|div|sqrt)|[0-9.,(){}+*/^-])+")
_OPERATOR = re.compile(r"[\\+*/^]|(?<=.)-")
_MATHS = re.compile(r"[\\=^_+*/<>|]")
_NAMED = re.compile(
    r"\s*(?:(?:the )?(?:final |correct )?answer(?: is)? ?:|answer is|ans[.:]|a:)\s+(?=\S)", re.IGNORECASE
)


@dataclass(frozen=True)
class Gold:
    """A reference answer, read."""

    text: str
    reading: Reading
    percent: bool  # the reference speaks of percent
    letter: str | None  # of a multiple choice


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
        result = Judged()
        for prompt, before, completion, gold in zip(prompts, seen, completions, golds, strict=True):
            outcome = self._row(prompt, before, completion, gold)
            result.append(_VALUES.get(outcome, 0.0))
            result.count(outcome, _message(outcome, gold, completion))
        return result

    def close(self) -> None:
        """Do nothing: unlike rewards with processes, this one holds none, and callers close every reward alike."""

    def _row(self, prompt: Completion, seen: str, completion: Completion, gold: Any) -> str:
        """The outcome of one completion."""
        golds = read_gold(gold)
        if not golds:
            return "gold_bad"
        question, text = prompt_text(prompt), completion_text(completion)
        opened = opened_by_prompt(seen)
        taken = final_answer(text, self.extract, opened=opened, lenient=not self.strict)
        if taken is not None and len(taken.text) > MAX_ANSWER:
            return "refused"
        chosen = any(reference.letter is not None for reference in golds)
        part = answering_part(text, opened=opened, lenient=not self.strict) if chosen else ""
        return min((self._judge(reference, taken, part, question) for reference in golds), key=_RANK)

    def _judge(self, gold: Gold, taken: Answer | None, part: str, question: str) -> str:
        """The outcome against one reference."""
        wanted = gold.letter or (letter_of_answer(gold.text, listed=True) if lists_options(question) else None)
        if wanted is not None:
            letter = self._letter(taken, part, question)
            if letter is not None or taken is None:
                return "ok" if letter == wanted else "wrong"
        if taken is None:
            return "unparsed"
        answer = read(taken.text)
        if answer is None:
            return "wrong"
        if self.strict and answer.spelling != gold.reading.spelling and _copied(taken.text, answer.tree, question):
            return "wrong"
        if (
            answer.tree.kind == "percent"
            and gold.reading.tree.kind != "percent"
            and (gold.percent or "percent" in question.lower() or "%" in question)
        ):
            answer = Reading(answer.tree.parts[0], answer.spelling, answer.known)
        words = words_of(question)
        try:
            same = Comparison(strict=self.strict, words=words).same_answer(gold.reading, answer)
        except (ArithmeticError, ValueError, RecursionError):  # numbers too large to compare, trees too deep
            return "unparsed"
        if not same and not gold.reading.known and _MATHS.search(gold.reading.tree.name):
            return "gold_bad"  # mathematics that the grammar does not know: equal as text or not judged
        return "ok" if same else "wrong"

    def _letter(self, taken: Answer | None, part: str, question: str) -> str | None:
        """The letter that a completion chooses: as its answer, or in a statement where the answer is no letter."""
        listed = lists_options(question)
        letter = letter_of_answer(taken.text, listed=listed) if taken is not None else None
        if letter is not None or (taken is not None and taken.source == "tag") or self.extract not in _PROSE:
            return letter
        if (said := letter_said(part)) is not None or (taken is not None and taken.source in ("boxed", "hash")):
            return said
        return letter_of_answer(part, listed=listed) if len(part) <= SHORT else None


def strict(*, extract: Extract = "auto") -> AccuracyReward:
    """`accuracy`: the profile to train on."""
    return AccuracyReward(strict=True, extract=extract)


def lenient(*, extract: Extract = "auto") -> AccuracyReward:
    """`accuracy_lenient`: the profile to compare with."""
    return AccuracyReward(strict=False, extract=extract)


@functools.lru_cache(maxsize=20_000)
def _read_one(gold: str) -> Gold | None:
    text = gold.replace("\\\\boxed", "\\boxed")
    if "####" in text:
        text = text.rpartition("####")[2]
    elif (boxed := boxed_answer(text)) is not None:
        text = boxed
    elif named := _NAMED.match(text):
        text = text[named.end() :]
    elif len(text) > 40 and "answer is" in text.lower():
        taken = final_answer(text)
        text = taken.text if taken is not None else text
    if len(text) > MAX_ANSWER or text.count("{") != text.count("}") or not any(ch.isalnum() for ch in text):
        return None
    reading = read(text)
    if reading is None:
        return None
    return Gold(text, reading, "percent" in gold.lower(), letter_of_gold(text))


def read_gold(gold: Any) -> list[Gold]:
    """The reference answers that can be read; [] if none can, such as in an object. True is also said as yes."""
    if isinstance(gold, Mapping):
        return []
    if isinstance(gold, bool):
        gold = ["true", "yes"] if gold else ["false", "no"]
    several = gold if isinstance(gold, list | tuple) else [gold]
    return [found for one in several if one is not None and (found := _read_one(str(one))) is not None]


def _copied(text: str, answer: Node, question: str) -> bool:
    """Return whether the answer is arithmetic that the question itself holds: "1/2 + 1/6" to "What is 1/2 + 1/6?"."""
    squeezed = _BLANK.sub("", text)
    if plain_number(answer) is not None or not _ARITHMETIC.fullmatch(squeezed) or not _OPERATOR.search(squeezed):
        return False
    return squeezed in _BLANK.sub("", question[:4000])


_RANK: Callable[[str], int] = ("ok", "refused", "wrong", "unparsed", "gold_bad").index  # of several references


def _message(outcome: str, gold: Any, completion: Completion) -> str | None:
    if outcome == "gold_bad":
        return f"reference answer {str(gold)[:80]!r} can't be read: left out"
    if outcome in ("ok", "wrong", "unparsed"):
        return None
    return f"{outcome} while judging an answer that ends in {completion_text(completion)[-60:]!r}"
