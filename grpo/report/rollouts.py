"""The rows of completions as the page's browser shows them: JSON with texts of a bounded length."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from grpo.report.features import after_prompt, stop_of
from grpo.report.reading import Row, number, parsed
from grpo.report.table import GROUP, KINDS, LENGTH, OFFSET, SAMPLE, Table

CLIPPED, WHOLE = 6_000, 100_000  # characters of a text in a list, and where one completion is looked at
MOST_TOKENS = 4_000  # that are coloured
BUDGET = 2_500_000  # bytes of the completions in a page that must stand alone
TOKEN_FIGURES = ("logprobs", "entropies", "policy_logprobs", "reference_logprobs")

Sizer = Callable[[Sequence[Row]], int]  # bytes of rows as JSON


def raw_row(table: Table, row: int) -> Row | None:
    """Read a row from its file again; None if the file has been replaced since it was indexed."""
    offset, length = int(table.places[row, OFFSET]), int(table.places[row, LENGTH])
    try:
        with table.parts[table.file[row]].path.open("rb") as file:
            file.seek(offset)
            return parsed(file.read(length))
    except OSError:
        return None


def shown(table: Table, row: int, *, most: int = CLIPPED, tokens: bool = False) -> Row | None:
    """Return what the page shows of a row, texts at most `most` characters long; None if it is gone.

    With `tokens` the figures of its tokens come along, where it has them.
    """
    raw = raw_row(table, row)
    if raw is None:
        return None
    part = table.parts[table.file[row]]
    rewards = raw.get("rewards") if isinstance(raw.get("rewards"), dict) else {}
    found: Row = {
        "name": table.name_of(row),
        "run": part.run,
        "kind": KINDS[table.kind[row]],
        "step": part.step,
        "file": f"{part.path.parent.name}/{part.path.name}",
        "group": f"{part.run}/{part.path.name}/{part.kind}/{table.places[row, GROUP]}",
        "order": int(table.group[row]),  # of its group among all
        "sample": int(table.places[row, SAMPLE]),
        "task": shortened(str(raw.get("task", "")), most),
        "prompt": shortened(str(raw.get("prompt", "")), most),
        "gold": None if raw.get("answer") is None else shortened(str(raw["answer"]), most),
        "reward": number(raw.get("reward")),
        "rewards": {str(name): number(value) for name, value in (rewards or {}).items()},
        "advantage": _scalar(raw.get("advantage")),
        "tokens": number(raw.get("tokens")),
        "stop": stop_of(raw),
        "problem": shortened(str(raw["problem"]), most) if raw.get("problem") else None,
        "text": shortened(str(raw.get("completion") or ""), most),
        "messages": _messages(raw, most),
        "has_tokens": isinstance(raw.get("logprobs"), list),
    }
    return found | ({"per_token": per_token(raw)} if tokens and found["has_tokens"] else {})


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and end with what was left out between them."""
    left_out = len(text) - most
    if left_out <= 0:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {left_out:,} characters left out here ...]\n{text[-half:]}"


def per_token(raw: Mapping[str, Any]) -> Row:
    """The lists of a row that hold a figure a token, each cut to MOST_TOKENS."""
    found: Row = {
        name: [number(value) for value in raw[name][:MOST_TOKENS]]
        for name in TOKEN_FIGURES
        if isinstance(raw.get(name), list)
    }
    if isinstance(texts := raw.get("token_texts"), list):
        found["token_texts"] = [str(text) for text in texts[:MOST_TOKENS]]
    advantage = raw.get("advantage")
    found["advantages"] = (
        [number(one) for one in advantage[:MOST_TOKENS]] if isinstance(advantage, list) else number(advantage)
    )
    found["left_out"] = max(0, len(raw.get("logprobs") or []) - MOST_TOKENS)
    return found


def _scalar(value: object) -> float | None:
    if isinstance(value, list):  # one advantage a token
        values = [one for one in map(number, value) if one is not None]
        return sum(values) / len(values) if values else None
    return number(value)


def _messages(raw: Mapping[str, Any], most: int) -> list[Row] | None:
    """What was said after the prompt, message by message; None where there was one turn only."""
    messages, turns = raw.get("messages"), raw.get("turns")
    if not isinstance(messages, list) or not isinstance(turns, list):
        return None
    return [
        {
            "role": str(one.get("role", "")),
            "name": str(one.get("name") or ""),
            "content": shortened(str(one.get("content") or ""), most),
            "calls": _calls(one.get("tool_calls")),
        }
        for one in after_prompt(messages)
        if isinstance(one, dict)
    ]


def _calls(calls: object) -> list[Row]:
    """Name and arguments of each tool call."""
    found = []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function", call) if isinstance(call, dict) else {}
        if isinstance(function, dict):
            arguments = function.get("arguments", "")
            found.append({"name": str(function.get("name", "")), "arguments": shortened(str(arguments), CLIPPED)})
    return found


def chosen(table: Table, size: Sizer, budget: int = BUDGET) -> list[Row]:
    """Whole groups for a page that must stand alone, spread over runs, kinds and steps, as many as the budget holds."""
    rows: list[Row] = []
    left = budget
    for group in _spread_groups(table):
        found = _fitting(table, group, size, budget // 8)
        left -= size(found)
        if left < 0 and rows:
            break
        rows += found
    return rows


def _fitting(table: Table, group: Sequence[int], size: Sizer, most: int) -> list[Row]:
    """A group's rows with the figures of their tokens; without these, or with short texts, if it would be too large."""
    for characters, tokens in ((CLIPPED, True), (CLIPPED, False)):
        found = _rows(table, group, characters, tokens=tokens)
        if size(found) <= most:
            return found
    return _rows(table, group, max(200, most // (8 * len(group))), tokens=False)


def _rows(table: Table, group: Sequence[int], most: int, *, tokens: bool) -> list[Row]:
    rows = [shown(table, row, most=most, tokens=tokens) for row in group]
    return [row for row in rows if row is not None]


def _spread_groups(table: Table) -> Iterator[list[int]]:
    """The rows of each group: of every run and kind in turn the first, the last, then those between."""
    starts = [0, *(int(row) + 1 for row in range(len(table) - 1) if table.group[row] != table.group[row + 1])]
    ends = [*starts[1:], len(table)]
    shelves: dict[tuple[int, int], list[list[int]]] = {}
    for start, end in zip(starts, ends, strict=True) if len(table) else ():
        shelves.setdefault((int(table.run[start]), int(table.kind[start])), []).append(list(range(start, end)))
    orders = [[shelf[place] for place in spread(len(shelf))] for shelf in shelves.values()]
    for turn in range(max(map(len, orders), default=0)):
        for order in orders:
            if turn < len(order):
                yield order[turn]


def spread(count: int) -> list[int]:
    """The places 0 to count - 1: both ends first, then the middle, then the middles of what is between."""
    order = dict.fromkeys([0, count - 1] if count else [])
    gaps = [(0, count - 1)]
    while gaps:
        low, high = gaps.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            order[middle] = None
            gaps += [(low, middle), (middle, high)]
    return list(order)
