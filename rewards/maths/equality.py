r"""Whether two normalised answers are the same.

Lists, sets, tuples, intervals, matrices, chains of "=", and what is in them.

The structure is taken apart here, on strings; only single expressions go to `same_expression`, which the caller
gives: in the trainer's process one that knows numbers alone and otherwise raises Undecided, in the worker one that
asks sympy. So the fast path agrees with the slow one: it is the same code.

Conventions (the labels of other projects disagree, these decide):
- a rounded decimal equals the exact number it comes from (`rewards.maths.exact.same_number`), 2.23 is not 2.232;
- 28% answers to gold 28% as 28%, 28, 0.28 or 7/25; to gold 28 only where the question speaks of percent;
- degrees and known units may be left out or added; 30 degrees is pi/6;
- an unbracketed list or {set} has no order; a (tuple) has; [a,b] and (a,b] are intervals, as are inequalities in one
  variable;
- `x = 3` answers gold 3 and the other way round; every number in a chain of "=" must be equal; so must what is
  "\approx" roughly;
- an equation in y (or \rho) as gold may be answered by what y is: 2x - 1 to y + 1 = 2x; of a gold sentence its
  numbers will do, all of them and in order;
- strict: a plain number as gold asks for a number, not for a sum or an integral that has its value; a reduced
  fraction as gold asks for lowest terms (MATH's rule); a gold `x \in S` asks for a set, not for an inequality
  (math-verify's default). Lenient takes all three.

Labels of other projects that these refuse or contradict are listed, with the reason, in
tests/rewards/test_labelled_cases.py.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from rewards.maths.brackets import Interval, intervals, is_round, is_set_builder, matrix, tuple_items
from rewards.maths.exact import read_number
from rewards.maths.numbers import as_ratio, same_numbers
from rewards.maths.text import list_items, split_top, strip_end
from rewards.maths.wording import same_text, squeeze


class Undecided(Exception):
    """Only sympy can tell."""


class Unreadable(Exception):
    """An expression sympy can't parse; `gold` says which side."""

    def __init__(self, *, gold: bool) -> None:
        super().__init__("gold" if gold else "answer")
        self.gold = gold


@dataclass(frozen=True)
class Comparison:
    """How to compare: the profile, and who judges single expressions."""

    same_expression: Callable[[str, str], bool]
    strict: bool = True


MAX_ITEMS = 64
_LABEL = re.compile(r"(?:\\text ?\{[^{}]*\}|[A-Za-z][A-Za-z .]*(?:\([^()]{1,12}\))?) ?: ?(?=[^ ])")
_ASSIGNABLE = re.compile(
    r"(?:\\text ?\{[^{}]*\}|\\?[A-Za-z]+)'*(?:_(?:\{[^{}]*\}|[A-Za-z0-9]|\\[A-Za-z]+))?'*(?: ?\([^()=]{1,30}\))?"
    r"|\|[A-Za-z ]+\||\([A-Za-z(), _0-9]+\)|\\frac\{[A-Za-z_0-9]+\}\{[A-Za-z_0-9]+\}|[A-Za-z]+ ?: ?[A-Za-z]+"
    r"|\\angle ?[A-Za-z]+|\\overline\{[A-Z]+\}|[A-Za-z]+ [A-Za-z]+"
)
_APPROX = re.compile(r"\\approx(?![A-Za-z])|\\simeq(?![A-Za-z])|\\sim(?![A-Za-z])")
_MEMBER_OF = re.compile(r"^[^=<>,]{1,20}?\\in(?![A-Za-z])")
_ORDERED = re.compile(r"\\[lg]eq(?![A-Za-z])|<|>")


def same_answer(gold: str, answer: str, how: Comparison) -> bool:
    """Whether two normalised answers are equal. Raises Undecided if `how.same_expression` does."""
    if not gold or not answer:
        return False
    if squeeze(gold) == squeeze(answer):
        return True
    text = same_text(gold, answer)
    if text is not None:
        return text
    gold_items, answer_items = _members(gold), _members(answer)
    if len(gold_items) != len(answer_items):
        gold_items, answer_items = _spread(gold_items, answer_items), _spread(answer_items, gold_items)
    if len(gold_items) == 1 and len(answer_items) == 1:
        return _same_item(gold_items[0], answer_items[0], how)
    if max(len(gold_items), len(answer_items)) > MAX_ITEMS:
        return False
    return _same_lists(gold, gold_items, answer, answer_items, how)


def _members(text: str) -> list[str]:
    r"""The items of a list or set, with `\pm` as two of them."""
    if text.startswith("\\{") and text.endswith("\\}") and not is_set_builder(text):
        text = text[2:-2]
    elif text.startswith("{") and text.endswith("}") and "," in text:
        text = text[1:-1]
    items = list_items(text)
    return [signed for item in items for signed in _both_signs(item)]


def _spread(items: list[str], others: list[str]) -> list[str]:
    """`(a, b) = (1, 2)` as `a = 1`, `b = 2` where the other side has as many members."""
    sides = split_top(items[0], "=") if len(items) == 1 else []
    if len(sides) != 2 or not all("=" in other for other in others):
        return items
    names, values = tuple_items(sides[0]), tuple_items(sides[1])
    if names is None or values is None or not len(names) == len(values) == len(others):
        return items
    return [f"{name} = {value}" for name, value in zip(names, values, strict=True)]


def _both_signs(item: str) -> list[str]:
    if "\\pm" not in item and "\\mp" not in item:
        return [item]
    count = item.count("\\pm")
    if item.startswith("(") and count <= 3 and "\\mp" not in item:  # (±a, ±b): every combination
        made = [item]
        for _ in range(count):
            made = [one.replace("\\pm", sign, 1) for one in made for sign in ("", "-")]
        return made
    upper = item.replace("\\pm", "+").replace("\\mp", "-")
    lower = item.replace("\\pm", "-").replace("\\mp", "+")
    return [part.removeprefix("+").replace("=+", "=").replace("= +", "=").strip() for part in (upper, lower)]


def _same_lists(gold: str, gold_items: list[str], answer: str, answer_items: list[str], how: Comparison) -> bool:
    """Lists and sets: without order, unless one of the two is a single tuple."""
    one_tuple = tuple_items(answer) if len(answer_items) == 1 else tuple_items(gold) if len(gold_items) == 1 else None
    if (one_tuple is not None and not how.strict) or (
        one_tuple is not None and is_round(answer if len(answer_items) == 1 else gold)
    ):
        other = gold_items if len(answer_items) == 1 else answer_items
        pair = (other, one_tuple) if len(answer_items) == 1 else (one_tuple, other)
        return len(other) == len(one_tuple) and all(_same_item(g, a, how) for g, a in zip(*pair, strict=True))
    if len(gold_items) == 1 or len(answer_items) == 1:
        return _one_against_many(gold_items, answer_items, how)
    if len(gold_items) != len(answer_items) and all(map(is_round, gold_items)):  # tuples said twice
        gold_items, answer_items = _distinct(gold_items), _distinct(answer_items)
    return _matched(gold_items, answer_items, how)


def _one_against_many(gold_items: list[str], answer_items: list[str], how: Comparison) -> bool:
    """`x=1,2` split at the comma is one item only by accident; everything else is of another length."""
    distinct = _distinct(gold_items), _distinct(answer_items)
    if len(distinct[0]) == 1 and len(distinct[1]) == 1 and len(gold_items) > 1:
        return _same_item(distinct[0][0], distinct[1][0], how)
    return False


def _distinct(items: list[str]) -> list[str]:
    return list({squeeze(item): item for item in items}.values())


def _matched(gold_items: list[str], answer_items: list[str], how: Comparison) -> bool:
    """Whether the items pair off, in any order. Pairs that need sympy wait until the easy ones are gone."""
    if len(gold_items) != len(answer_items):
        return False
    left = list(answer_items)
    waiting: list[str] = []
    for item in gold_items:
        same = next((at for at, other in enumerate(left) if squeeze(item) == squeeze(other)), None)
        if same is None:
            waiting.append(item)
        else:
            left.pop(same)
    for item in waiting:
        for at, other in enumerate(left):
            if _same_item(item, other, how):
                left.pop(at)
                break
        else:
            return False
    return True


def _same_item(gold: str, answer: str, how: Comparison) -> bool:
    gold, answer = _unlabelled(gold), _unlabelled(answer)
    for text in (gold, answer):
        if _APPROX.search(text):
            return _same_approximate(gold, answer, how)
    chains = split_top(gold, "="), split_top(answer, "=")
    if len(chains[0]) > 1 or len(chains[1]) > 1:
        if any(not part for chain in chains for part in chain):
            return False
        return _same_chain(*chains, how)
    return _same_value(gold, answer, how)


def _unlabelled(item: str) -> str:
    """Without "Minimum:" before the value; ratios such as 2:1 keep their colon."""
    match = _LABEL.match(item)
    return item[match.end() :].strip() if match and "|" not in item[: match.end()] else item


def _same_approximate(gold: str, answer: str, how: Comparison) -> bool:
    r"""`exact \approx decimal`: the exact part counts, and the decimal must be near it."""
    gold_parts, answer_parts = _APPROX.split(gold), _APPROX.split(answer)
    gold_parts, answer_parts = (
        [p.strip() for p in gold_parts if p.strip()],
        [p.strip() for p in answer_parts if p.strip()],
    )
    if not gold_parts or not answer_parts:
        return False
    if how.strict and _APPROX.match(answer) and not _APPROX.search(gold):  # "about 3"
        return False
    numbers = [read_number(part.rpartition("=")[2]) for part in answer_parts]
    known = [number.value for number in numbers if number is not None]
    if len(known) > 1 and abs(known[0] - known[-1]) > abs(known[0]) / 100:
        return False
    return _same_item(gold_parts[0], answer_parts[0], how)


def _same_chain(gold: list[str], answer: list[str], how: Comparison) -> bool:
    """`x = 3` against `3`, `x = a = b`, and equations proper."""
    if len(gold) > 2 and (len(answer) == 1 or squeeze(gold[0]) == squeeze(answer[0])):
        return _same_value(gold[-1], answer[-1], how)  # the reference is a worked chain: its end counts
    if len(gold) > 1 and len(answer) > 1:
        if _assigns(gold) and _assigns(answer):
            names = squeeze(gold[0]), squeeze(answer[0])
            if names[0] != names[1] and how.strict and not _may_rename(*names):
                return False
            return _consistent(answer, how) and _same_value(*_renamed(gold, answer), how)
        return len(gold) == len(answer) == 2 and how.same_expression("=".join(gold), "=".join(answer))
    if len(answer) > 1:
        return (
            (_assigns(answer) or _numeric(answer))
            and _consistent(answer, how)
            and _same_value(gold[0], answer[-1], how)
        )
    if _solvable(gold, answer[0]):
        return how.same_expression("=".join(gold), f"{_dependent(gold)}={answer[0]}")
    return _assigns(gold) and _same_value(gold[-1], answer[0], how)


def _dependent(gold: list[str]) -> str:
    return "\\rho" if "\\rho" in gold[0] + gold[1] else "y"


def _solvable(gold: list[str], answer: str) -> bool:
    """Whether the gold is an equation of a curve and the answer may be its solved form: y + 1 = 2x against 2x - 1."""
    name = re.compile(r"(?<![A-Za-z\\])y(?![A-Za-z_])|\\rho(?![A-Za-z])")
    return (
        len(gold) == 2
        and not _assigns(gold)
        and name.search("=".join(gold)) is not None
        and (name.search(answer) is None and re.search(r"(?<![A-Za-z\\])[a-z](?![A-Za-z])|\\theta", answer) is not None)
    )


def _assigns(chain: list[str]) -> bool:
    """Whether a chain begins with something that a value can be given to."""
    return _ASSIGNABLE.fullmatch(chain[0].strip()) is not None


def _numeric(chain: list[str]) -> bool:
    """Whether no member but the commands has letters: 10^3 = 1000."""
    return not any(re.search(r"(?<![A-Za-z\\])[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", part)) for part in chain)


def _consistent(chain: list[str], how: Comparison) -> bool:
    """Whether the members after the name are equal to the last: `x = 4 = 3` is not."""
    members = chain if _numeric(chain) else chain[1:]
    lenient = Comparison(how.same_expression, strict=False)
    try:
        return all(_same_value(member, chain[-1], lenient) for member in members[:-1])
    except Unreadable:  # both sides are the answer's: what can't be read here is not the reference's fault
        raise Unreadable(gold=False) from None


def _may_rename(one: str, other: str) -> bool:
    """f(n) and f(m) are one function; a_n and b_n are not, nor x and y."""
    return one.partition("(")[0] == other.partition("(")[0] and "(" in one and "(" in other


def _renamed(gold: list[str], answer: list[str]) -> tuple[str, str]:
    names = [re.fullmatch(r".*\(([A-Za-z])\)", squeeze(chain[0])) for chain in (gold, answer)]
    right = answer[-1]
    if names[0] and names[1] and names[0][1] != names[1][1]:
        right = re.sub(rf"(?<![A-Za-z\\]){names[1][1]}(?![A-Za-z])", names[0][1], right)
    return gold[-1], right


def _same_value(gold: str, answer: str, how: Comparison) -> bool:
    """Single values: numbers, text, intervals, tuples, matrices, else an expression."""
    gold, answer = strip_end(gold), strip_end(answer)
    if not gold or not answer:
        return False
    if squeeze(gold) == squeeze(answer):
        return True
    number = same_numbers(gold, answer, strict=how.strict)
    if number is not None:
        return number
    text = same_text(gold, answer)
    if text is not None:
        return text
    if how.strict and _MEMBER_OF.match(gold) and _ORDERED.search(answer) and not answer.startswith("\\{"):
        return False
    unions = intervals(gold), intervals(answer)
    if unions[0] is not None and unions[1] is not None:
        return _same_intervals(unions[0], unions[1], how)
    structured = _same_structure(gold, answer, how)
    if structured is not None:
        return structured
    return how.same_expression(as_ratio(gold), as_ratio(answer))


def _same_intervals(gold: list[Interval], answer: list[Interval], how: Comparison) -> bool:
    left = list(answer)
    if len(gold) != len(answer):
        return False
    for wanted in gold:
        for at, given in enumerate(left):
            if _same_interval(wanted, given, how):
                left.pop(at)
                break
        else:
            return False
    return True


def _same_interval(gold: Interval, answer: Interval, how: Comparison) -> bool:
    if (gold.low_closed, gold.high_closed) != (answer.low_closed, answer.high_closed):
        return False
    for wanted, given in ((gold.low, answer.low), (gold.high, answer.high)):
        if (wanted is None) != (given is None):
            return False
        if wanted is not None and given is not None and not _same_value(wanted, given, how):
            return False
    return True


def _same_structure(gold: str, answer: str, how: Comparison) -> bool | None:
    """Tuples and matrices, entry by entry; None if neither is one."""
    rows = matrix(gold), matrix(answer)
    if rows[0] is not None and rows[1] is not None:
        return _same_rows(rows[0], rows[1], how)
    entries = tuple_items(gold), tuple_items(answer)
    for row_entries, tuple_entries in ((rows[0], entries[1]), (rows[1], entries[0])):
        if row_entries is not None and tuple_entries is not None:
            flat = [cell for row in row_entries for cell in row]
            if len(row_entries) == 1 or all(len(row) == 1 for row in row_entries):
                pair = (flat, tuple_entries) if row_entries is rows[0] else (tuple_entries, flat)
                return len(flat) == len(tuple_entries) and all(
                    _same_value(g, a, how) for g, a in zip(*pair, strict=True)
                )
            return False
    if entries[0] is not None and entries[1] is not None and max(map(len, (entries[0], entries[1]))) > 1:
        if len(entries[0]) != len(entries[1]) or (gold[0], gold[-1]) != (answer[0], answer[-1]):
            return False
        return all(_same_item(g, a, how) for g, a in zip(entries[0], entries[1], strict=True))
    several = [one for one in entries if one is not None and len(one) > 1]
    return False if several else None


def _same_rows(gold: list[list[str]], answer: list[list[str]], how: Comparison) -> bool:
    if [len(row) for row in gold] != [len(row) for row in answer]:
        return False
    pairs = zip((cell for row in gold for cell in row), (cell for row in answer for cell in row), strict=True)
    return all(_same_value(wanted, given, how) for wanted, given in pairs)


def numbers_only(gold: str, answer: str) -> bool:
    """The judge of single expressions in the trainer's process: it knows none."""
    raise Undecided
