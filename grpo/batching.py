"""From scored groups to the micro-batches of one optimizer update: same gradient however they are cut."""

from collections.abc import Sequence

from grpo.types import Group, Segment


def pack(
    groups: Sequence[Group],
    advantages: Sequence[Sequence[float]],
    *,
    token_budget: int,
    keep_truncated: bool = True,
    keep_zero: bool = True,
) -> list[Segment]:
    """Segments of at most `token_budget` padded tokens (a single row may exceed it).

    Groups of like lengths run together while they fit, and rows of one group that is too large are cut by length, so
    that little is padding. Rows that teach nothing are left out: truncated ones without `keep_truncated`, and without
    `keep_zero` (no KL term) those whose advantage is 0.
    """
    pieces: list[Segment] = []
    for group, group_advantages in zip(groups, advantages, strict=True):
        rows = [
            i
            for i, rollout in enumerate(group.rollouts)
            if (keep_truncated or rollout.stop_reason == "stop") and (keep_zero or group_advantages[i] != 0)
        ]
        rows.sort(key=lambda i: len(group.rollouts[i].tokens))
        pieces += _cut(group, group_advantages, rows, token_budget)
    pieces.sort(key=lambda piece: (len(piece.completions), max(piece.lengths), len(piece.prompts[0])))
    return _merge(pieces, token_budget)


def _cut(group: Group, advantages: Sequence[float], rows: Sequence[int], token_budget: int) -> list[Segment]:
    """One group's rows, sorted by length, in as few segments as the budget allows."""
    segments, start = [], 0
    prompt = group.prompt.tokens
    while start < len(rows):
        end = start + 1
        while (
            end < len(rows)
            and _cost(len(prompt), end + 1 - start, len(group.rollouts[rows[end]].tokens)) <= token_budget
        ):
            end += 1
        chosen = rows[start:end]
        segments.append(
            Segment(
                prompts=(prompt,),
                completions=tuple(group.rollouts[i].tokens for i in chosen),
                sampler_logprobs=tuple(group.rollouts[i].logprobs for i in chosen),
                advantages=tuple(advantages[i] for i in chosen),
            )
        )
        start = end
    return segments


def _cost(prompt: int, rows: int, length: int) -> int:
    """Tokens that run through the network: the prompt once, the rows padded to the longest."""
    return prompt + rows * length


def _merge(pieces: Sequence[Segment], token_budget: int) -> list[Segment]:
    """Neighbours with the same number of rows run together while their padded tokens fit."""
    merged: list[Segment] = []
    for piece in pieces:
        if merged and len(piece.completions) == merged[-1].samples:
            both = _joined(merged[-1], piece)
            width, length = max(map(len, both.prompts)), max(both.lengths)
            if len(both.prompts) * _cost(width, both.samples, length) <= token_budget:
                merged[-1] = both
                continue
        merged.append(piece)
    return merged


def _joined(first: Segment, second: Segment) -> Segment:
    return Segment(
        prompts=first.prompts + second.prompts,
        completions=first.completions + second.completions,
        sampler_logprobs=first.sampler_logprobs + second.sampler_logprobs,
        advantages=first.advantages + second.advantages,
    )
