"""From scored groups to the micro-batches of one optimizer update: same gradient however they are cut."""

from collections.abc import Iterator, Sequence

from grpo.types import Credit, Group, Segment


def pack(
    groups: Sequence[Group],
    advantages: Sequence[Sequence[Credit]],
    *,
    token_budget: int,
    keep_truncated: bool = True,
    keep_zero: bool = True,
) -> list[tuple[Segment, ...]]:
    """Micro-batches of at most `token_budget` padded tokens (a single row may exceed it).

    A group too large for one comes as several segments in one tuple, cut by length so that little is padding: their
    prompt is run once, outside the budget. Groups that fit are tuples of one, those of like lengths run together.
    Rows that teach nothing are left out: truncated ones without `keep_truncated`, and without `keep_zero` (no KL
    term) those whose advantage is 0.
    """
    small: list[Segment] = []
    large: list[tuple[Segment, ...]] = []
    for group, group_advantages in zip(groups, advantages, strict=True):
        rows = [
            i
            for i, rollout in enumerate(group.rollouts)
            if (keep_truncated or rollout.stop_reason == "stop") and (keep_zero or group_advantages[i] != 0)
        ]
        rows.sort(key=lambda i: len(group.rollouts[i].tokens))
        if not rows:
            continue
        if _cost(len(group.prompt.tokens), len(rows), len(group.rollouts[rows[-1]].tokens)) <= token_budget:
            small.append(_segment(group, group_advantages, rows))
        else:
            large.append(tuple(_cut(group, group_advantages, rows, token_budget)))
    small.sort(key=lambda piece: (len(piece.completions), max(piece.lengths), len(piece.prompts[0])))
    return [*large, *((segment,) for segment in _merge(small, token_budget))]


def _cut(group: Group, advantages: Sequence[Credit], rows: Sequence[int], token_budget: int) -> Iterator[Segment]:
    """One group's rows, sorted by length, in as few segments as the budget allows."""
    start = 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and (end + 1 - start) * len(group.rollouts[rows[end]].tokens) <= token_budget:
            end += 1
        yield _segment(group, advantages, rows[start:end])
        start = end


def _segment(group: Group, advantages: Sequence[Credit], rows: Sequence[int]) -> Segment:
    """These rows of a group."""
    return Segment(
        prompts=(group.prompt.tokens,),
        completions=tuple(group.rollouts[i].tokens for i in rows),
        sampler_logprobs=tuple(group.rollouts[i].logprobs for i in rows),
        advantages=tuple(advantages[i] for i in rows),
    )


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
