"""The records of an audit: labelled cases in, findings, a table and a list of the wrong ones out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewards.rows import InputError, read_rows

NOT_COLUMNS = ("prompt", "completion", "expected", "id", "kind", "why")
WRONG = ("false_accept", "false_reject", "not_left_out", "left_out", "crash", "timeout")
ROUNDING = 1e-9  # of a value against its bounds
MOST_LISTED = 40  # wrong cases on the screen; --output has all


@dataclass(frozen=True)
class Case:
    """One labelled completion."""

    id: str
    kind: str  # honest, hack, trap, hostile, or the user's own
    prompt: Any
    completion: Any
    columns: dict[str, Any]
    expected: Any  # of the label in question
    why: str


@dataclass(frozen=True)
class Finding:
    """The result of one case."""

    id: str
    kind: str
    verdict: str  # right, or one of WRONG
    expected: Any
    value: float | None
    seconds: float
    why: str
    error: str | None
    ending: str  # of the completion


@dataclass(frozen=True)
class Summary:
    """One reward's row of the table."""

    reward: str
    label: str
    cases: int
    right: int
    false_accepts: int
    false_rejects: int
    not_left_out: int  # a value where there should be none
    left_out: int  # no value where there should be one
    crashes: int
    timeouts: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def read_cases(path: Path, label: str) -> list[Case]:
    """The cases that have this label. InputError for a file without any, or a label that can't be read."""
    cases = []
    for number, row in enumerate(read_rows(path), 1):
        where = f"{path}, row {number}"
        if "expected" not in row:
            raise InputError(f"{where}: no 'expected' (a number, [low, high], null, or an object of these by label)")
        expected = row["expected"]
        if isinstance(expected, dict):
            if label not in expected:
                continue
            expected = expected[label]
        if not _is_expectation(expected):
            raise InputError(f"{where}: expected must be a number, [low, high] or null, got {expected!r}")
        columns = {key: value for key, value in row.items() if key not in NOT_COLUMNS}
        name, kind, why = (str(row.get(key, default)) for key, default in (("id", number), ("kind", "-"), ("why", "")))
        cases.append(Case(name, kind, row["prompt"], row["completion"], columns, expected, why))
    if not cases:
        raise InputError(f"{path} holds no case with the label {label!r} (--label names another)")
    return cases


def _is_expectation(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return value is None or (
        all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
        and (not isinstance(value, list) or (len(value) == 2 and value[0] <= value[1]))
    )


def verdict_on(expected: Any, value: float | None, threshold: float) -> str:
    """right, false_accept, false_reject, not_left_out or left_out."""
    if expected is None:
        return "right" if value is None else "not_left_out"
    if value is None:
        return "left_out"
    if isinstance(expected, list):
        too_high, too_low = value > expected[1] + ROUNDING, value < expected[0] - ROUNDING
    else:
        too_high, too_low = value >= threshold > expected, value < threshold <= expected
    return "false_accept" if too_high else "false_reject" if too_low else "right"


def summarise(reward: str, label: str, findings: Sequence[Finding]) -> Summary:
    """Counts and percentiles (nearest rank)."""
    count = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in ("right", *WRONG)}
    times = sorted(1000 * finding.seconds for finding in findings)
    p50, p95, p99 = (round(times[min(len(times) - 1, int(share * len(times)))], 3) for share in (0.5, 0.95, 0.99))
    return Summary(
        reward,
        label,
        len(findings),
        count["right"],
        count["false_accept"],
        count["false_reject"],
        count["not_left_out"],
        count["left_out"],
        count["crash"],
        count["timeout"],
        p50,
        p95,
        p99,
        round(times[-1], 3),
    )


def table(summaries: Sequence[Summary]) -> str:
    """The summaries, a line each."""
    rows = [[key.replace("_", " ") for key in asdict(summaries[0])]]
    rows += [[str(value) for value in asdict(summary).values()] for summary in summaries]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def listing(reward: str, findings: Sequence[Finding]) -> Iterator[str]:
    """The wrong cases, a line each."""
    wrong = [finding for finding in findings if finding.verdict != "right"]
    if wrong:
        kinds = Counter(finding.kind for finding in wrong)
        yield f"\n{reward}: {len(wrong)} wrong ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})"
    for finding in wrong[:MOST_LISTED]:
        said = finding.error or f"value {_short(finding.value)}, expected {_short(finding.expected)}"
        yield f"  {finding.verdict:12}  {finding.id}: {said}; {finding.why}; ends in {finding.ending[-40:]!r}"
    if len(wrong) > MOST_LISTED:
        yield f"  and {len(wrong) - MOST_LISTED} more: --output writes all"


def _short(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
