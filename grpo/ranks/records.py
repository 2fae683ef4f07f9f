"""Groups and rewards as bytes, to go from rank to rank: JSON for texts, arrays for figures per token."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from grpo.scoring import GroupScores
from grpo.types import Dialogue, Group, Prompt, Rollout


def pack(groups: Sequence[Group], scored: Sequence[GroupScores]) -> bytes:
    """Return groups without their prompts, and their rewards, as bytes; `scored` may be empty.

    What a reward or an environment noted goes as JSON, its text where JSON has no word for it; an environment's own
    object stays behind.
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    head = {
        "groups": [len(group.rollouts) for group in groups],
        "rollouts": [_plain(rollout) for rollout in rollouts],
        "scores": [scores_to_plain(scores) for scores in scored],
    }
    arrays: dict[str, Any] = {
        "head": np.frombuffer(json.dumps(head, default=str).encode(), dtype=np.uint8),
        "tokens": _joined([rollout.tokens for rollout in rollouts], np.int32),
        "masks": _joined([rollout.mask for rollout in rollouts if rollout.mask is not None], np.uint8),
        "logprobs": _joined([rollout.logprobs for rollout in rollouts], np.float64),
        "entropies": _joined([rollout.entropies for rollout in rollouts], np.float64),
        **{f"experts_{at}": one.experts for at, one in enumerate(rollouts) if one.experts is not None},
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(data: bytes, prompts: Sequence[Prompt]) -> tuple[list[Group], list[GroupScores]]:
    """Return the groups of these prompts and their rewards, from what `pack` gave."""
    arrays = np.load(io.BytesIO(data), allow_pickle=False)
    head = json.loads(arrays["head"].tobytes())
    lengths = [plain["tokens"] for plain in head["rollouts"]]
    tokens, logprobs, entropies = (_cut(arrays[name], lengths) for name in ("tokens", "logprobs", "entropies"))
    masks = _cut(arrays["masks"], [plain["tokens"] for plain in head["rollouts"] if plain["masked"]])
    rollouts = iter(
        [
            Rollout(
                next(tokens),
                next(logprobs),
                next(entropies),
                plain["text"],
                plain["stop_reason"],
                next(masks) if plain["masked"] else None,
                None if plain["dialogue"] is None else _dialogue(plain["dialogue"]),
                experts=arrays.get(f"experts_{at}"),
                version=plain["version"],
                counted=plain["counted"],
            )
            for at, plain in enumerate(head["rollouts"])
        ]
    )
    groups = [
        Group(prompt, tuple(next(rollouts) for _ in range(samples)))
        for prompt, samples in zip(prompts, head["groups"], strict=True)
    ]
    return groups, [scores_of(plain) for plain in head["scores"]]


def scores_to_plain(scores: GroupScores) -> dict[str, Any]:
    """Return scores as values that JSON can hold."""
    plain: dict[str, Any] = json.loads(json.dumps(vars(scores), default=str))
    return plain


def scores_of(plain: Mapping[str, Any]) -> GroupScores:
    """Return the scores that `scores_to_plain` was given."""
    return GroupScores(**plain)


def _plain(rollout: Rollout) -> dict[str, Any]:
    dialogue = rollout.dialogue
    return {
        "tokens": len(rollout.tokens),
        "text": rollout.text,
        "stop_reason": rollout.stop_reason,
        "masked": rollout.mask is not None,
        "version": rollout.version,
        "counted": rollout.counted,
        "dialogue": None if dialogue is None else _said(dialogue),
    }


def _said(dialogue: Dialogue) -> dict[str, Any]:
    return {name: value for name, value in vars(dialogue).items() if name != "environment"}


def _dialogue(plain: Mapping[str, Any]) -> Dialogue:
    given: dict[str, Any] = {
        **plain,
        "messages": tuple(plain["messages"]),
        "turns": tuple((begin, end) for begin, end in plain["turns"]),
        "rewards": tuple(plain["rewards"]),
        "info": tuple(plain["info"]),
        "tool_tracebacks": tuple(plain["tool_tracebacks"]),
    }
    return Dialogue(**given)


def _joined(rows: Sequence[Sequence[float]], dtype: Any) -> np.ndarray:
    """Put rows one behind the other; in 32 bits where that loses nothing."""
    whole = np.concatenate([np.asarray(row, dtype=dtype) for row in rows]) if rows else np.zeros(0, dtype=dtype)
    short = whole.astype(np.float32) if whole.dtype == np.float64 else whole
    return short if np.array_equal(short, whole, equal_nan=whole.dtype == np.float64) else whole


def _cut(whole: np.ndarray, lengths: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that were joined, as tuples of Python numbers."""
    values, start = whole.tolist(), 0
    for length in lengths:
        yield tuple(values[start : start + length])
        start += length
