"""Sample and score prompts over the ranks: each its share, then all have all groups.

Every completion draws from its own stream of random numbers, keyed by the prompt's number, so that it is the same
whichever rank samples it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from grpo.ranks.alone import here
from grpo.rollout.engine import Request
from grpo.scoring import GroupScores
from grpo.types import Group, Prompt

# Prompts and a request for them -> their groups and rewards, in order.
Sample = Callable[[Sequence[Prompt], Request], tuple[list[Group], list[GroupScores]]]


def sampled(prompts: Sequence[Prompt], request: Request, sample: Sample) -> tuple[list[Group], list[GroupScores]]:
    """Return what `sample` gives for all prompts, in their order; it is called with those of this rank."""
    ranks = here()
    if ranks.size == 1:
        return sample(prompts, request)
    if ranks.sharded:
        groups, scored = sample(prompts, request)
        return groups, scored_by_first(lambda: scored)
    from grpo.ranks.records import pack, unpack

    numbers = range(len(prompts)) if request.numbers is None else request.numbers
    places = ranks.places(len(prompts))
    own = [prompts[place] for place in places]
    groups, scored = sample(own, replace(request, numbers=[numbers[place] for place in places])) if own else ([], [])
    by_rank = [
        unpack(part, [prompts[place] for place in range(rank, len(prompts), ranks.size)])
        for rank, part in enumerate(ranks.gather_bytes(pack(groups, scored)))
    ]
    found = [by_rank[place % ranks.size] for place in range(len(prompts))]
    at = [place // ranks.size for place in range(len(prompts))]
    groups = [group_list[i] for (group_list, _), i in zip(found, at, strict=True)]
    whole = all(len(group_list) == len(scores) for group_list, scores in by_rank)
    return groups, [scores[i] for (_, scores), i in zip(found, at, strict=True)] if whole else []


def scored_by_first(score: Callable[[], Sequence[GroupScores]]) -> list[GroupScores]:
    """Return the scores of a whole step, which rank 0 works out where rewards want all groups in one call."""
    ranks = here()
    if ranks.size == 1:
        return list(score())
    from grpo.ranks.records import scores_of, scores_to_plain

    return [scores_of(plain) for plain in ranks.from_first(lambda: [scores_to_plain(one) for one in score()])]
