"""What the policy said: of a step's completions the first group, equal ones folded, best and worst marked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grpo.report.reading import Row, Run, number, read_lines

MOST_CHARACTERS = 12_000  # of one text; a longer one loses its middle
TAG = re.compile(r"(</?(?:think|answer)>)")

SHOWN = ("completion", "rewards", "reward", "advantage", "tokens", "stop_reason")  # of a row

Piece = tuple[str, str]  # css class, text


@dataclass(frozen=True)
class Completion:
    pieces: list[Piece]
    reward: float | None
    advantage: float | None
    rewards: dict[str, float | None]
    tokens: float | None
    stop_reason: str
    mark: str = ""  # best, worst
    times: int = 1  # how often the group has it


@dataclass(frozen=True)
class GroupShown:
    step: int
    prompt: str
    answer: str | None  # the gold one
    completions: list[Completion]  # best advantage first
    samples: int
    reward_names: list[str]


def groups(run: Run) -> list[GroupShown]:
    """The first group of the first, the middle and the last file of completions."""
    files = sorted(file for file in (run.path / "completions").glob("step_*.jsonl") if _step(file) is not None)
    chosen = sorted({0, len(files) // 2, len(files) - 1}) if files else []
    shown = [_group(files[i], run) for i in chosen]
    return [group for group in shown if group is not None]


def _step(file: Path) -> int | None:
    digits = file.stem.removeprefix("step_")
    return int(digits) if digits.isascii() and digits.isdigit() else None


def _group(file: Path, run: Run) -> GroupShown | None:
    try:
        rows, _ = read_lines(file)
    except OSError:  # removed since it was listed
        return None
    same = [row for row in rows if (row.get("task"), row.get("prompt")) == (rows[0].get("task"), rows[0].get("prompt"))]
    rows = same[: run.config.num_generations] if run.config is not None else same
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in _rewards(row)))
    prompt, answer = shortened(str(rows[0].get("prompt", ""))), rows[0].get("answer")
    gold = None if answer is None else shortened(str(answer))
    return GroupShown(_step(file) or 0, prompt, gold, _folded(rows), len(rows), names)


def _rewards(row: Row) -> dict[str, Any]:
    rewards = row.get("rewards")
    return rewards if isinstance(rewards, dict) else {}


def _folded(rows: Sequence[Row]) -> list[Completion]:
    """The completions, those equal in everything once, with best and worst reward marked if there is a difference."""
    counted: dict[str, Completion] = {}
    for row in rows:
        key = repr([row.get(name) for name in SHOWN])
        counted[key] = replace(counted[key], times=counted[key].times + 1) if key in counted else _completion(row)
    rewards = [one.reward for one in counted.values() if one.reward is not None]
    marks = {max(rewards): "best", min(rewards): "worst"} if len(set(rewards)) > 1 else {}
    marked = [
        replace(one, mark=marks.get(one.reward, "") if one.reward is not None else "") for one in counted.values()
    ]
    return sorted(marked, key=lambda one: (-_or_zero(one.advantage), -_or_zero(one.reward)))


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else value


def _completion(row: Row) -> Completion:
    return Completion(
        pieces=_said(row),
        reward=number(row.get("reward")),
        advantage=number(row.get("advantage")),
        rewards={str(name): number(value) for name, value in _rewards(row).items()},
        tokens=number(row.get("tokens")),
        stop_reason=str(row.get("stop_reason", "")),
    )


def _said(row: Row) -> list[Piece]:
    """What a completion says; of a conversation each message after its role."""
    messages, turns = row.get("messages"), row.get("turns")
    if not isinstance(messages, list) or not isinstance(turns, list):
        return pieces(shortened(str(row.get("completion", ""))))
    said = [message for message in messages if isinstance(message, dict)]
    first = next((place for place, message in enumerate(said) if message.get("role") == "assistant"), 0)
    found: list[Piece] = []
    for message in said[first:]:
        found.append(("tag", f"\n[{message.get('role', '')}]\n"))
        found += pieces(shortened(str(message.get("content", ""))))
    return found


def shortened(text: str) -> str:
    left_out = len(text) - MOST_CHARACTERS
    if left_out <= 0:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]}\n[... {left_out} characters left out here ...]\n{text[-half:]}"


def pieces(text: str) -> list[Piece]:
    """The text cut at its think and answer tags: [(tag | think | answer | "", text)]."""
    found: list[Piece] = []
    inside = ""
    for part in TAG.split(text):
        if TAG.fullmatch(part):
            inside = "" if part.startswith("</") else part[1:-1]
            found.append(("tag", part))
        elif part:
            found.append((inside, part))
    return found
