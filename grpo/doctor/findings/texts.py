"""Measures of a completion's text that the rules compare: loops, copies, scripts, answers, role markers."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from grpo.doctor.findings.evidence import Sample

WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*|[^\w\s]")
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
ROLES = re.compile(
    r"<\|(?:im_start|im_end|user|assistant|system|eot_id|start_header_id|endoftext)\|>|\[/?INST\]|<(?:start|end)_of_turn>"
    r"|^\s*(?:User|Human|Assistant)\s*:",
    re.MULTILINE,
)
SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


@lru_cache(maxsize=20_000)
def words(text: str) -> tuple[str, ...]:
    """Split into words, numbers and signs; a script without spaces into its letters."""
    found = WORD.findall(text[:20_000])
    return tuple(
        part for word in found for part in (word if len(word) > 1 and script_of(word[0]) in SPACELESS else (word,))
    )


def looped(text: str) -> float:
    """Return the share of a text's runs of four words that were there before; of short texts, the longest run of one.

    0 for a text under eight words.
    """
    listed = words(text)
    if len(listed) < 8:
        return 0.0
    longest = run = 1
    for a, b in pairwise(listed):
        run = run + 1 if a == b else 1
        longest = max(longest, run)
    if len(listed) < 16:
        return longest / len(listed)
    grams = list(zip(listed, listed[1:], listed[2:], listed[3:], strict=False))
    return max(1 - len(set(grams)) / len(grams), longest / len(listed))


def copied(text: str, prompt: str) -> float:
    """Return the share of a text's runs of three words that stand in the prompt; 0 for a text under four words."""
    listed, asked = words(text), words(prompt)
    if len(listed) < 4 or len(asked) < 4:
        return 0.0
    there = set(zip(asked, asked[1:], asked[2:], strict=False))
    grams = list(zip(listed, listed[1:], listed[2:], strict=False))
    return sum(gram in there for gram in grams) / len(grams)


def of_prompt(text: str, prompt: str) -> int:
    """Return how many words of a text are words of its prompt."""
    asked = set(words(prompt))
    return sum(word in asked for word in words(text))


def covered(text: str, prompt: str) -> float:
    """Return the share of a prompt's different words that stand in a text; 0 of a prompt without words."""
    asked = set(words(prompt))
    return len(asked.intersection(words(text))) / len(asked) if asked else 0.0


@lru_cache(maxsize=5_000)
def script_of(letter: str) -> str:
    """Return the script of a letter by its Unicode name: LATIN, CJK, CYRILLIC, ..."""
    return unicodedata.name(letter, "NONE").split(" ")[0].split("-")[0]


def scripts(texts: Sequence[str]) -> dict[str, float]:
    """Return the share of words in each script; a letter of a script without spaces is a word."""
    counted = Counter(script_of(word[0]) for text in texts for word in words(text) if word[0].isalpha())
    total = sum(counted.values())
    return {script: count / total for script, count in counted.items()} if total else {}


def in_script(text: str, script: str) -> int:
    """Return how many words of a text are in a script."""
    return sum(word[0].isalpha() and script_of(word[0]) == script for word in words(text))


def normal(answer: str) -> str:
    """Return an answer without what does not change its value as text: spaces, case, signs around it."""
    stripped = answer.strip().strip("$.").replace(",", "").replace("\\!", "").strip().lower()
    if re.fullmatch(r"-?\d+\.0*", stripped):
        stripped = stripped.partition(".")[0]
    return " ".join(stripped.split())


def gold_of(answer: object) -> str | None:
    """Return a gold answer as text to look for; None where it is not one short answer."""
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    text = str(answer)
    if "####" in text:  # GSM8K's
        text = text.rsplit("####", 1)[1]
    if boxed := BOXED.findall(text):
        text = boxed[-1]
    text = normal(text)
    return text if 0 < len(text) <= 40 else None


@lru_cache(maxsize=20_000)
def answers(text: str) -> tuple[str, ...]:
    """Return what a reader would take for the final answer: in tags, in a box, the last number, the last word."""
    found = [inside[-1] for inside in (ANSWER.findall(text), BOXED.findall(text)) if inside]
    if numbers := NUMBER.findall(text):
        found.append(numbers[-1])
    elif spoken := words(text):
        found.append(spoken[-1])
    return tuple(dict.fromkeys(normal(answer) for answer in found))


def has_answer(sample: Sample) -> bool:
    """Return whether the gold answer is what a reader would take for the final one."""
    return sample.gold is not None and sample.gold in answers(sample.text)


def places(prompt: str, gold: str) -> set[tuple[str, str]]:
    """Return where a prompt has the gold answer as a word of its own: words before it, words after it, the word before.

    Empty where it does not have it.
    """
    text = prompt.lower().replace(",", "")
    found: set[tuple[str, str]] = set()
    for match in re.finditer(rf"(?<![\w.]){re.escape(gold)}(?![\w]|\.\d)", text):
        before, after = text[: match.start()].split(), text[match.end() :].split()
        found |= {("words before", str(len(before))), ("words after", str(len(after)))}
        found |= {("word before", before[-1])} if before else set()
    return found
