r"""The final answer in a completion, by rule.

In order: the last complete `\boxed{}` outside the reasoning; else the answer tag; else, as `extract` says, what
follows `####`, what follows "answer is", a text that is an expression as a whole, the last formula, the last number.
Boxes that only "and", "or" or a comma separates are one list. All scanners make one pass: 128 KB of hostile text
cost milliseconds.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from rewards.maths.box_context import in_context
from rewards.maths.grammar import read
from rewards.maths.tokens import MAX_ANSWER, clean_characters, closing_brace, strip_end
from rewards.maths.words import changes, denies, hedged, states
from rewards.sections import first_turn, split

Extract = Literal["auto", "last_number", "boxed", "tag", "hash"]
EXTRACTS: tuple[str, ...] = get_args(Extract)

_TAIL = 6000  # characters from the end in which an answer without box or tag is looked for
_NUMBER = re.compile(
    r"(?<![0-9A-Za-z_^.,:])[0-9]{1,2}:[0-5][0-9](?![0-9:])(?: ?[aApP]\.?[mM]\b\.?)?"
    r"|(?<![0-9A-Za-z_^.,])(?:(?<![0-9A-Za-z)}\]]) ?-)?\$?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    r"(?: [0-9]{1,4}/[0-9]{1,4}(?![0-9/])|/[0-9]+(?:\.[0-9]+)?)?%?|(?<![0-9A-Za-z_^])-?\.[0-9]+"
)
_MONEY = re.compile(r"(?<![0-9.,])[0-9]+(?:[.,][0-9]+)*(?= ?[$€£¥])|(?<=[$€£¥])[0-9]+(?:[.,][0-9]+)*")
_ANCHOR = re.compile(
    r"answer(?: to [^.:\n]{0,80})?(?:\*\*)? ?(?:is|are|:|=|would be)(?:\*\*)?:?"
    r"|(?:^|\n) ?(?:A|Réponse|Antwort|Respuesta|Risposta|Resposta) ?:|答案(?:是|为|：|:)|答え(?:は|：|:)",
    re.IGNORECASE,
)
_GUESSED = re.compile(r"\b(?:maybe|may be|might|perhaps|possibly|probably|either|guess)\b", re.IGNORECASE)
_STATEMENT = re.compile(  # one number after a verb: "She has 18 eggs left."
    r"([^0-9]*?\b(?:is|are|has|have|equals?|gives?|makes?|costs?|takes?|earns?|needs?|gets?|pays?|obtains?|sells?|sold"
    r"|buys?|bought|spends?|spent|saves?|saved|collects?|collected|receives?|received|made))\b"
    r"((?: (?:then|now|thus|therefore|exactly|only|just|still|equal to|a total of|in total))*[ :$]{1,3})"
    r"(-?[0-9][0-9,]*(?:\.[0-9]+)?(?: [0-9]+/[0-9]+|/[0-9]+)?%?)(?![0-9])([^0-9]*)"
)
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|had|equals?)\b")
_CLAUSE = re.compile(r",? (?:because|since|as we|so that|which|given that)\b.*")
_LISTED = re.compile(r"(?:[0-9.]+ ?(?:,|;) ?){2,}(?:and )?[0-9.]+$")
_JOINT = re.compile(
    r"\s*[-+=*_~#]{3,}\s*|(?: [a-z]{3,12} (?=and|or))?"
    r"(?:[\s,;.$*]|\\[\[\]()]|\\q?quad|\\text|[{}]|and|or|und|et|[A-Za-z](?:_\{?[0-9]\}?)? ?=)*"
)
_WORD = re.compile(r"(?<![A-Za-z\\])(?:[A-Za-z]{2,}|[^\W\d_A-Za-z])")
# 8 * 5 = 40, 3 g + 4 g = 7 g: no names before the last "="
_COMPUTATION = re.compile(r"(?:[0-9.,\s()$+*/×÷=-]|\\(?:times|cdot|div)(?![a-z])|(?<=[0-9] )[a-z]{1,3}(?![a-z]))+=")
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?=\{)")
_TEXTS = re.compile(r"\\(?:text[a-z]{0,2}|mbox) ?\{[^{}]*\}")
_STOP = re.compile(r"(?<![\\])(?<!\bsq)(?<!\bft)(?<!\bcu)(?:[.!?] |。)")
_CLOSING = "I hope it is correct."


@dataclass(frozen=True)
class Answer:
    """The final answer and the place it was read from."""

    text: str
    source: Literal["boxed", "tag", "hash", "anchor", "whole", "formula", "number"]


def final_answer(text: str, extract: Extract = "auto", *, opened: bool = False, lenient: bool = False) -> Answer | None:
    """The final answer, or None if there is none.

    Args:
        text: the completion.
        extract: where to look where there is neither box nor tag; another value than "auto" or "last_number" looks
        there only. opened: the prompt ended with `<think>`.
        lenient: take the last of several answer tags or contradicting boxes instead of none.
    """
    found = _answering(text, opened=opened, lenient=lenient)
    if found is None:
        return None
    final, inside, has_tag = found[0], _unfenced(found[1]), found[2]
    if extract == "hash":
        return _after_hash(final)
    if not has_tag and (closing := _closing_sentence(final)):
        return closing
    boxed = _boxed(inside, one=has_tag and not lenient)
    if boxed and not lenient:
        boxes = last_boxes(inside)
        boxed = in_context(inside[: boxes[0][0]], boxed, inside[boxes[-1][1] :])
        if boxed is None:
            return None
    if boxed is not None and extract != "tag":
        return _from_box(boxed, lenient=lenient) if boxed.strip() and _agrees(final, inside, boxed) else None
    if boxed is None and has_tag and extract != "boxed" and _BOX.search(final) and (outside := _boxed(final)):
        return Answer(outside, "boxed") if not inside.strip() or outside.strip() in inside else None
    if has_tag and extract != "boxed":
        return _from_tag(inside.strip(), lenient=lenient)
    if extract in ("boxed", "tag"):
        return None
    return _last_number(final, lenient=lenient) if extract == "last_number" else _auto(final, lenient=lenient)


def answering_part(text: str, *, opened: bool = False, lenient: bool = False) -> str:
    """The text after the reasoning, or inside the answer tag; empty where there is none or the tags contradict."""
    found = _answering(text, opened=opened, lenient=lenient)
    return "" if found is None else found[1]


def _answering(text: str, *, opened: bool, lenient: bool) -> tuple[str, str, bool] | None:
    """The text after the reasoning, the answer tag's in it (all without one), and whether there is a tag."""
    text = first_turn(text)
    final = split(visible(text), opened=opened).final
    if final is None or (not lenient and _answered_before(text)):
        return None
    tagged = _tagged(final, lenient=lenient)
    return None if tagged is None else (final, *tagged)


def _unfenced(text: str) -> str:
    """The text without code blocks, unless it is nothing else."""
    outside = " ".join(text.split("```")[::2])
    return outside if "```" in text and any(ch.isalnum() for ch in outside) else text


def visible(text: str) -> str:
    r"""The text without what a reader doesn't see: HTML comments and `\phantom{}`."""
    for opening, closing in (("<!--", "-->"), ("\\phantom{", "}"), ("\\hphantom{", "}")):
        parts, at = [], 0
        while (start := text.find(opening, at)) >= 0:
            brace = start + len(opening) - 1
            end = (
                text.find(closing, start)
                if closing != "}"
                else start + closing_brace(text[start : start + MAX_ANSWER], brace - start)
            )
            if end < start:
                break
            parts.append(text[at:start])
            at = end + len(closing)
        text = " ".join([*parts, text[at:]]) if parts else text
    return text


def _closing_sentence(final: str) -> Answer | None:
    """The answer in the last sentence that the few-shot prompt of Minerva asks for, where boxes come before it."""
    text = final.rstrip()
    at = text.rfind("Final Answer:") if text.endswith(_CLOSING) else -1
    if at < 0 or "\\boxed" in text[at:]:
        return None
    return _after_anchor(text[at:])


def _answered_before(text: str) -> bool:
    """Return whether an answer stands between two ends of the reasoning: the template written twice is a second try."""
    between = text[text.find("</think>") : text.rfind("</think>")]
    return "<answer>" in between or _BOX.search(between) is not None


def _tagged(final: str, *, lenient: bool) -> tuple[str, bool] | None:
    """The text inside the answer tag (all of it without one), and whether there is one. None: several tags."""
    start = final.find("<answer>")
    if start < 0:
        return final, False
    end = final.find("</answer>", start)
    again = final.find("<answer>", start + 8)
    if again >= 0 or (end >= 0 and final.find("</answer>", end + 9) >= 0):
        if not lenient:
            return None
        start = final.rfind("<answer>")
        end = final.find("</answer>", start)
    if end < 0:  # cut off: a complete box inside still counts, loose text does not
        boxed = _BOX.search(final, start) is not None
        return (final[start + 8 :], boxed) if boxed or lenient else None
    return final[start + 8 : end], True


def _agrees(final: str, inside: str, boxed: str) -> bool:
    """Return whether a box outside the answer tag, if any, says the same as the one inside."""
    other = _boxed(final.replace(inside, " ", 1))
    return other is None or other.strip() == boxed.strip()


def last_boxes(text: str) -> list[tuple[int, int, str]]:
    r"""The last complete `\boxed{}` and those joined to it: (start, end, content), in order."""
    found: list[tuple[int, int, str]] = []
    for match in reversed(list(_BOX.finditer(text))[-50:]):
        at, start = match.span()
        limit = text[start : start + 4 * MAX_ANSWER]
        end = closing_brace(limit, 0)
        if end < 0 and len(limit) == 4 * MAX_ANSWER:  # far longer than an answer: it is one that is refused
            end = len(limit)
        if end >= 0:
            stop = start + end + 1
            found = [box for box in found if box[0] >= stop]  # a box in a box: the outer one
            between = text[stop : found[0][0]] if found else ""
            if len(between) > 60 or not _JOINT.fullmatch(between):
                break
            found.insert(0, (at, stop, limit[1:end]))
        elif found:
            break
    return found


def boxed_answer(text: str) -> str | None:
    r"""Return the content of a solution's last `\boxed{}`, joined boxes as a list; None without one."""
    content = _boxed(text)
    return content if content is not None and len(content) <= MAX_ANSWER else None


def _boxed(text: str, *, one: bool = False) -> str | None:
    r"""The content of the last box (joined boxes as a list); None without a complete one.

    one: boxes that contradict each other are no answer: "\boxed{4} <!-- \boxed{3} -->".
    """
    boxes = last_boxes(text)
    if not boxes:
        return None
    contents = list(dict.fromkeys(content.strip() for _, _, content in boxes))
    if one:
        before = last_boxes(text[: boxes[0][0]])
        if any(content.strip() not in contents for _, _, content in before):
            return ""
    return ", ".join(contents)


def _from_box(inside: str, *, lenient: bool) -> Answer | None:
    """The content of a box; a sentence in it is read like that of an answer tag."""
    if _is_expression(inside) or "\\begin" in inside or len(_WORD.findall(inside)) < 4:
        return Answer(inside, "boxed")
    return _from_tag(inside.strip(), lenient=lenient)


def _from_tag(inside: str, *, lenient: bool) -> Answer | None:
    """The content of an answer tag: as a whole unless it is one statement of the answer."""
    if not inside:
        return None
    anchors = len(_ANCHOR.findall(inside[-_TAIL:]))
    if anchors == 1 or (anchors and lenient):
        return _after_anchor(inside)
    said = _STATEMENT.fullmatch(strip_end(inside)) if len(inside) <= 200 else None
    if said and states(said[1]) and not changes(said[4]) and "," not in said[4]:
        return Answer(said[3], "number")
    return Answer(inside, "tag")


def _auto(final: str, *, lenient: bool) -> Answer | None:
    hashed = _after_hash(final)
    if hashed is not None:
        return hashed
    whole = final.strip()
    anchored = _after_anchor(whole)
    if anchored is not None:
        return anchored
    if _is_expression(whole) or (len(whole) <= 300 and "\\text" in whole and not _WORD.search(_TEXTS.sub("", whole))):
        before, equals, after = whole.rpartition("=")
        computed = _last_number(after, lenient=lenient) if equals and _COMPUTATION.fullmatch(before + equals) else None
        labelled = whole[:1].isalpha() and _WORD.match(whole) is not None
        return computed or (_last_formula(whole) if labelled else None) or Answer(whole, "whole")
    return (
        _last_formula(whole)
        or _last_number(whole, lenient=lenient)
        or (Answer(whole, "whole") if 0 < len(whole) <= 200 else None)
    )


def _after_hash(text: str) -> Answer | None:
    at = text.rfind("####")
    line = text[at + 4 :].lstrip().partition("\n")[0].strip() if at >= 0 else ""
    return Answer(line, "hash") if line else None


def _after_anchor(text: str) -> Answer | None:
    """Return what follows the last "answer is" on its line: an expression, or a statement's only number or formula."""
    tail = text[-_TAIL:]
    matches = list(_ANCHOR.finditer(tail))
    if not matches:
        return None
    sentence = strip_end(_first_sentence(tail[matches[-1].end() :].strip()))
    if not sentence:
        return None
    anchor = matches[-1].group()
    before = re.split(r"[.!?,;:\n。]", tail[max(0, matches[-1].start() - 80) : matches[-1].start()])[-1]
    near = before if "that" in before.split()[-2:] else " ".join(before.split()[-3:])
    if not anchor.startswith("\n") and denies(near):  # twice the answer is 3; it is not true that the answer is 3
        return Answer(f"{before}{anchor} {sentence}", "anchor")
    stated = _CLAUSE.sub("", sentence)
    if _is_expression(stated):
        return Answer(stated, "anchor")
    verbs = [match.end() for match in _VERB.finditer(sentence)]
    if denies(sentence) or changes(sentence[verbs[-1] if verbs else 0 :]):
        return Answer(stated, "anchor")
    formula = _last_formula(sentence)
    if formula is not None:
        return formula
    numbers = list(dict.fromkeys(match.group().strip() for match in _NUMBER.finditer(sentence)))
    money = _MONEY.findall(sentence)
    if len(numbers) == 1 or len(money) == 1:
        return Answer(numbers[0] if len(numbers) == 1 else money[0], "number")
    return Answer(sentence, "anchor") if len(sentence) <= 80 else None


def _first_sentence(text: str) -> str:
    """The text up to the first stop outside a formula."""
    line = text.partition("\n")[0][:MAX_ANSWER]
    for match in _STOP.finditer(line):
        before = line[: match.start()]
        if (before.count("$") - before.count("\\$")) % 2 == 0:
            return before.strip()
    return line.strip()


def _is_expression(text: str) -> bool:
    """Return whether a text is an answer as it stands: short, and the grammar knows all of it."""
    if not text or len(text) > 300 or (text.count("\n") > 2 and "\\begin" not in text):
        return False
    reading = read(text)
    return reading is not None and reading.known


def _last_formula(text: str) -> Answer | None:
    r"""The last `$...$`, `\(...\)`, `\[...\]` or expression in bold; none with a number behind it."""
    tail = text[-_TAIL:]
    best, behind = (-1, ""), 0
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("**", "**")):
        end = tail.rfind(closing)
        start = tail.rfind(opening, 0, end) if end >= 0 else -1
        inside = tail[start + 2 : end]
        if start > best[0] and (opening != "**" or (not _WORD.search(inside) and _is_expression(inside))):
            best, behind = (start, inside), end + 2
    parts = tail.replace("$$", "$").split("$")
    if len(parts) >= 3 and len(parts) % 2 and parts[-2].strip() and len(parts[-2]) <= 300:
        start = tail.rfind(parts[-2])
        if start > best[0]:
            best, behind = (start, parts[-2]), start + len(parts[-2])
    if not best[1].strip() or _NUMBER.search(tail[behind:]):
        return None
    return Answer(best[1].strip(), "formula")


def _last_number(text: str, *, lenient: bool) -> Answer | None:
    """The last number; strict: none that is guessed or denied ("it may be 3"), and with the list that it ends."""
    tail, last = text[-_TAIL:], None
    if not tail.isascii():
        tail = clean_characters(tail)
    for match in _NUMBER.finditer(tail):
        last = match
    if last is not None and not lenient:
        line = tail[tail.rfind("\n", 0, last.start()) + 1 : last.end()][-200:]
        listed = _LISTED.search(line)
        behind = tail[last.end() : last.end() + 40].partition("\n")[0]
        if listed or _GUESSED.search(line.rpartition(". ")[2]):
            return Answer(listed.group() if listed else line.strip(), "number")
        if hedged(line[: last.start() - last.end()], behind):
            return Answer((line + behind).strip(), "number")
    return Answer(last.group().replace("$", "").strip(), "number") if last is not None else None
