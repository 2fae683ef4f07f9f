"""Cut scored groups into the micro-batches of one optimizer update; the gradient does not depend on the cuts."""

import bisect
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from grpo.types import Credit, Group, Rollout, Segment, Value

SMALLEST_LANE = 256  # tokens; less is not worth a lane of its own
KEPT_PROMPTS = 1 / 4  # of token_budget, that prompts may have to keep their activations


def pack(
    groups: Sequence[Group],
    advantages: Sequence[Sequence[Credit]],
    *,
    token_budget: int,
    lanes: int = 1,
    keep_truncated: bool = True,
    keep_zero: bool = True,
) -> list[tuple[Segment, ...]]:
    """Micro-batches, `lanes` of a bundle at a time side by side, together at most `token_budget` padded tokens.

    A lone row may exceed its share of the budget. A group too large for one micro-batch is a bundle of several, cut by
    length so that little is padding: their prompt is run once, outside the budget. So is a lone group that would leave
    lanes empty, unless most of it is prompt. Groups that fit are whole, those of like lengths run together. Rows that
    teach nothing are left out: truncated ones without `keep_truncated`, and without `keep_zero` (no KL term) those
    whose advantage is 0.
    """
    share = max(1, token_budget // lanes)
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
        prompt, completions = len(group.prompt.tokens), len(rows) * len(group.rollouts[rows[-1]].tokens)
        if prompt + completions <= share and not cut_for_lanes(len(groups), prompt, completions, lanes):
            small.append(_segment(group, group_advantages, rows))
        else:
            lengths = [len(group.rollouts[i].tokens) for i in rows]
            cut = _cut(lengths, _even(share, lanes, partial(_parts, lengths)))
            large.append(tuple(_segment(group, group_advantages, rows[part]) for part in cut))
    small.sort(key=lambda piece: (len(piece.completions), max(piece.lengths), len(piece.prompts[0])))
    whole = _merge(small, _even(share, lanes, lambda budget: len(_merge(small, budget))))
    return [*large, *(tuple(whole[i : i + lanes]) for i in range(0, len(whole), lanes))]


def cut_for_lanes(groups: int, prompt: int, completions: int, lanes: int) -> bool:
    """Return whether a group is cut for the lanes although it fits: it is alone, completions are most of it."""
    return lanes > 1 and groups == 1 and completions >= max(prompt, lanes * SMALLEST_LANE)


def keeps_prompts(segments: int, tokens: int, *, token_budget: int, lanes: int) -> bool:
    """Return whether prompts of `tokens` tokens keep their activations while a bundle of `segments` segments learns.

    They do if the whole bundle runs at a time and they are little beside what it keeps anyway.
    """
    return 1 < segments <= lanes and tokens <= KEPT_PROMPTS * token_budget


def _even(budget: int, lanes: int, pieces: Callable[[int], int]) -> int:
    """The least budget that makes no more pieces than the whole one does, rounded up to a multiple of the lanes."""
    if lanes == 1:
        return budget
    most = -(-pieces(budget) // lanes) * lanes
    least = min(budget, SMALLEST_LANE)
    return least + bisect.bisect_left(range(least, budget), True, key=lambda lower: pieces(lower) <= most)


def _parts(lengths: Sequence[int], token_budget: int) -> int:
    return len(_cut(lengths, token_budget))


def _cut(lengths: Sequence[int], token_budget: int) -> list[slice]:
    """Cut rows of these ascending lengths into as few parts as the budget allows; a lone row may exceed it."""
    parts, start = [], 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - start) * lengths[end] > token_budget:
            parts.append(slice(start, end))
            start = end
    return parts


def _segment(group: Group, advantages: Sequence[Credit], rows: Sequence[int]) -> Segment:
    """Make a segment of these rows of a group."""
    return Segment(
        prompts=(group.prompt.tokens,),
        completions=tuple(group.rollouts[i].tokens for i in rows),
        sampler_logprobs=tuple(group.rollouts[i].logprobs for i in rows),
        advantages=tuple(advantages[i] for i in rows),
        masks=_masks([group.rollouts[i] for i in rows]),
        proximal_logprobs=_all_or_none([group.rollouts[i].proximal_logprobs for i in rows]),
        penalised=_all_or_none([group.rollouts[i].penalised for i in rows]),
        experts=_experts([group.rollouts[i].experts for i in rows]),
    )


def _all_or_none(rows: Sequence[tuple[Value, ...] | None]) -> tuple[tuple[Value, ...], ...] | None:
    """Return what every row has; None if a row has none."""
    there = tuple(row for row in rows if row is not None)
    return there if len(there) == len(rows) else None


def _experts(rows: Sequence[np.ndarray | None]) -> tuple[np.ndarray | None, ...] | None:
    """Return the experts of all rows; None where none of them has any."""
    return tuple(rows) if any(row is not None for row in rows) else None


def _masks(rollouts: Sequence[Rollout]) -> tuple[tuple[int, ...], ...] | None:
    """Return the masks of rows in which an environment wrote tokens; None where all are the model's."""
    if all(rollout.mask is None for rollout in rollouts):
        return None
    return tuple(rollout.mask or (1,) * len(rollout.tokens) for rollout in rollouts)


def _cost(prompt: int, rows: int, length: int) -> int:
    """Tokens that run through the network: the prompt once, the rows padded to the longest."""
    return prompt + rows * length


def _merge(pieces: Sequence[Segment], token_budget: int) -> list[Segment]:
    """Merge neighbours with the same number of rows while their padded tokens fit."""
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
        masks=None if first.masks is second.masks is None else _whole_masks(first) + _whole_masks(second),
        proximal_logprobs=_all_or_none([*(first.proximal_logprobs or [None]), *(second.proximal_logprobs or [None])]),
        penalised=_all_or_none([*(first.penalised or [None]), *(second.penalised or [None])]),
        experts=_experts([*(first.experts or first.samples * [None]), *(second.experts or second.samples * [None])]),
    )


def _whole_masks(segment: Segment) -> tuple[tuple[int, ...], ...]:
    return segment.masks or tuple((1,) * length for length in segment.lengths)
