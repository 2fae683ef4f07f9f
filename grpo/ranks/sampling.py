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
    from grpo.ranks.records import pack

    numbers = range(len(prompts)) if request.numbers is None else request.numbers
    places = ranks.places(len(prompts))
    own = [prompts[place] for place in places]
    groups, scored = sample(own, replace(request, numbers=[numbers[place] for place in places])) if own else ([], [])
    return merged(ranks.gather_bytes(pack(groups, scored)), prompts)


def merged(parts: Sequence[bytes], prompts: Sequence[Prompt]) -> tuple[list[Group], list[GroupScores]]:
    """Return the groups of these prompts and their rewards from what each rank packed of its places."""
    from grpo.ranks.records import unpack

    size = len(parts)
    by_rank = [unpack(part, prompts[rank::size]) for rank, part in enumerate(parts)]
    groups = [by_rank[place % size][0][place // size] for place in range(len(prompts))]
    whole = all(len(groups) == len(scores) for groups, scores in by_rank)
    return groups, [by_rank[place % size][1][place // size] for place in range(len(prompts))] if whole else []


def scored_by_first(score: Callable[[], Sequence[GroupScores]]) -> list[GroupScores]:
    """Return the scores of a whole step, which rank 0 works out where rewards want all groups in one call."""
    ranks = here()
    if ranks.size == 1:
        return list(score())
    from grpo.ranks.records import scores_of, scores_to_plain

    return [scores_of(plain) for plain in ranks.from_first(lambda: [scores_to_plain(one) for one in score()])]
